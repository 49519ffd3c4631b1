"""The knobs of a run by dotted path: set by assignments, told apart, and compared."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import Any, cast

from verifier.config import assignments as assignments_lib
from verifier.config import kinds
from verifier.config.sections import Config
from verifier.errors import ConfigError


def override(config: Config, assignments: Iterable[str]) -> Config:
    """A new configuration with `section.knob=value` assignments applied in order.

    Args:
        config: what to start from; it is not changed.
        assignments: `path=value`, the value as in `0.7`, `[1,3]`, `true`, `some/folder`; a text
            stands as it is given.

    Returns:
        A frozen Config whose values have the declared types: where `config` has 2 for a float, it
        has 2.0.

    Raises:
        ConfigError: an assignment without `=`, an unknown path (the nearest ones are named) or a
            value of the wrong type, in `config` too.
    """
    try:
        return assignments_lib.assigned(config, assignments)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def from_settings(settings: Mapping[str, Any]) -> Config:
    """The configuration of stored settings, by dotted path.

    Knobs that came later are at their defaults; what is no knob any more is left out.

    Raises:
        ConfigError: a value of the wrong type.
    """
    try:
        return assignments_lib.stored(Config(), settings)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def knobs() -> dict[str, Any]:
    """What every knob takes, by its dotted path: the declared type, as `kinds` reads it."""
    return assignments_lib.knobs(Config)


def choices(path: str) -> tuple[str, ...]:
    """The texts that a knob (`verify.head`), or an entry of its list, is chosen from."""
    return kinds.choices(knobs()[path])


@functools.cache
def marked(mark: kinds.Mark, tree: type = Config) -> tuple[str, ...]:
    """The dotted paths of the knobs that a mark is declared beside; in `tree`, a section's class
    or all of them.
    """
    declared = assignments_lib.knobs(tree).items()
    return tuple(path for path, takes in declared if mark in kinds.marks(takes))


def flatten(tree: Config | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every knob by its dotted path, tuples as lists (as JSON would give them back)."""
    items = (
        dataclasses.asdict(tree)
        if dataclasses.is_dataclass(tree) and not isinstance(tree, type)
        else cast(Mapping[str, Any], tree)
    )
    flat: dict[str, Any] = {}
    for key, value in items.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, prefix=f"{path}."))
        else:
            flat[path] = list(value) if isinstance(value, tuple) else value
    return flat


def settings_of(config: Config, *sections: str) -> dict[str, Any]:
    """The knobs of some sections, and some knobs by name (`model.dtype`), flat.

    The result of a stage depends on these knobs.
    """
    return {
        path: value
        for path, value in flatten(config).items()
        if path in sections or path.partition(".")[0] in sections
    }


def gives_logits(settings: Mapping[str, Any]) -> bool:
    """Whether a verifier's values are logits of being right, not estimates of the label.

    Args:
        settings: by dotted path.
    """
    return settings["verify.value_loss"] == "bce"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line a setting that is not the same in both, in the order of `new`."""
    paths = list(new) + [path for path in old if path not in new]
    missing = "(absent)"
    return [
        f"{path}: {old.get(path, missing)!r} there, {new.get(path, missing)!r} now"
        for path in paths
        if old.get(path, missing) != new.get(path, missing)
    ]


def with_defaults(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Stored settings, with the knobs of `new` that came later: these acted as by default."""
    return {path: defaults[path] for path in new if path not in old and path in defaults} | dict(
        old
    )
