"""`section.knob=value` assignments to a tree of frozen dataclasses.

What a knob takes is `kinds`'s.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from verifier.config import kinds

Tree = TypeVar("Tree")


@functools.cache
def _declared(tree: Any) -> dict[str, Any]:
    return typing.get_type_hints(tree, include_extras=True)


@functools.cache
def knobs(tree: Any) -> dict[str, Any]:
    """The declared type of every knob of a dataclass and of its sections, by dotted path."""
    takes: dict[str, Any] = {}
    for name, declared in _declared(tree).items():
        if dataclasses.is_dataclass(declared):
            section: Any = declared
            takes |= {f"{name}.{path}": kind for path, kind in knobs(section).items()}
        else:
            takes[name] = declared
    return takes


def assigned(tree: Tree, assignments: Iterable[str]) -> Tree:
    """A new tree with the assignments applied in order, all values in their declared types.

    Raises:
        ValueError: what is wrong with an assignment or with a value of the tree, and what was
            expected.
    """
    kind: Any = type(tree)
    known, values = knobs(kind), settled(tree)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        given = f"--set {kinds.shortened(assignment)}"
        if not equals:
            raise ValueError(f"{given}: expected path=value, such as sample.temperature=0.7")
        if path not in known:
            raise ValueError(
                f"{given}: there is no knob {kinds.shortened(path)}; nearest: "
                f"{', '.join(nearest(path, known))}"
            )
        try:
            values[path] = kinds.parse(text, known[path])
        except ValueError as error:
            raise ValueError(f"{given}: {error}") from error
    return _replaced(tree, values)


def stored(tree: Tree, settings: Mapping[str, Any]) -> Tree:
    """A new tree with the knobs that some settings have, as `settings.flatten` gave them.

    Raises:
        ValueError: one is of another type.
    """
    kind: Any = type(tree)
    known, values = knobs(kind), settled(tree)
    for path in known.keys() & settings.keys():
        try:
            values[path] = kinds.settled(settings[path], known[path])
        except ValueError as error:
            raise ValueError(f"{path}={kinds.shortened(settings[path])}: {error}") from error
    made: Tree = _replaced(tree, values)
    return made


def settled(tree: object, prefix: str = "") -> dict[str, Any]:
    """The values of all knobs, by path after `prefix`, in their declared types.

    Raises:
        ValueError: one is of another type.
    """
    values: dict[str, Any] = {}
    kind: Any = type(tree)
    for name, declared in _declared(kind).items():
        value, path = getattr(tree, name), f"{prefix}{name}"
        if not dataclasses.is_dataclass(declared):
            try:
                values[path] = kinds.settled(value, declared)
            except ValueError as error:
                raise ValueError(f"{path}={kinds.shortened(value)}: {error}") from error
        elif type(value) is declared:
            values |= settled(value, f"{path}.")
        else:
            wanted = getattr(declared, "__name__", declared)
            raise ValueError(f"{path}={kinds.shortened(value)}: expected a {wanted}")
    return values


def _replaced(tree: Any, values: Mapping[str, Any]) -> Any:
    """The tree with other values, by path."""
    own: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        if rest:
            below.setdefault(name, {})[rest] = value
        else:
            own[name] = value
    return dataclasses.replace(
        tree,
        **own,
        **{name: _replaced(getattr(tree, name), inner) for name, inner in below.items()},
    )


def nearest(path: str, known: Iterable[str]) -> list[str]:
    """Knobs that may be meant: near in spelling or in the last name, or of the section named."""
    last, known = path.rpartition(".")[2], list(known)
    near = difflib.get_close_matches(path, known, n=3)
    names = difflib.get_close_matches(last, {other.rpartition(".")[2] for other in known}, n=2)
    near += [
        other
        for other in known
        if other.rpartition(".")[2] in names or other.startswith(f"{path}.")
    ]
    return list(dict.fromkeys(near))[:5] or sorted({other.partition(".")[0] for other in known})
