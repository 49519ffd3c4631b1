"""`section.knob=value` assignments to a tree of frozen dataclasses.

Knows no knob by name; what one takes is `knob_types`'s.
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
    """What every knob of a dataclass, and of those that are its fields, takes: the declared type by
    dotted path.
    """
    found: dict[str, Any] = {}
    for name, declared in _declared(tree).items():
        if dataclasses.is_dataclass(declared):
            section: Any = declared
            found |= {f"{name}.{path}": kind for path, kind in knobs(section).items()}
        else:
            found[name] = declared
    return found


def assigned(tree: Tree, assignments: Iterable[str]) -> Tree:
    """A new tree with the assignments applied in order, all values settled in their declared types.

    Raises:
        ValueError: what is wrong with an assignment or with a value of the tree, and what was
            expected.
    """
    kind: Any = type(tree)
    known, values = knobs(kind), settled(tree)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        given = f"--set {kinds.shown(assignment)}"
        if not equals:
            raise ValueError(f"{given}: expected path=value, such as sample.temperature=0.7")
        if path not in known:
            raise ValueError(
                f"{given}: there is no knob {kinds.shown(path)}; nearest: "
                f"{', '.join(nearest(path, known))}"
            )
        try:
            values[path] = kinds.parse(text, known[path])
        except ValueError as error:
            raise ValueError(f"{given}: {error}") from error
    return _replaced(tree, values)


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
                raise ValueError(f"{path}={kinds.shown(value)}: {error}") from error
        elif type(value) is declared:
            values |= settled(value, f"{path}.")
        else:
            raise ValueError(
                f"{path}={kinds.shown(value)}: expected a {getattr(declared, '__name__', declared)}"
            )
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
        **{name: _replaced(getattr(tree, name), found) for name, found in below.items()},
    )


def nearest(path: str, known: Iterable[str]) -> list[str]:
    """Knobs that the writer may have meant: near in spelling, of the same or a near last name, or
    of the section that was named.
    """
    last, known = path.rpartition(".")[2], list(known)
    near = difflib.get_close_matches(path, known, n=3)
    names = difflib.get_close_matches(last, {other.rpartition(".")[2] for other in known}, n=2)
    near += [
        other
        for other in known
        if other.rpartition(".")[2] in names or other.startswith(f"{path}.")
    ]
    return list(dict.fromkeys(near))[:5] or sorted({other.partition(".")[0] for other in known})
