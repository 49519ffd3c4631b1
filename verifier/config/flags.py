"""Flags of a command that stand for knobs: they take what the knobs take."""

from __future__ import annotations

from typing import Any

from absl import flags

from verifier.config import kinds
from verifier.config.settings import knobs
from verifier.errors import ConfigError


def value_of(flag: flags.FlagHolder[Any], knob: str) -> Any:
    """The value of a flag, where the knob that it stands for takes it.

    Args:
        flag: an absl flag of text, a number or a list.
        knob: the dotted path of the knob.

    Raises:
        ConfigError: it does not; with what was expected.
    """
    declared, is_list = knobs()[knob], isinstance(flag.value, list)
    text = ",".join(flag.value) if is_list else str(flag.value)
    try:
        value = kinds.parse(f"[{text}]" if is_list else text, declared)
        reason = kinds.refusal(value, declared) or (
            "expected a list of at least one" if value == () else ""
        )
    except ValueError as error:
        reason = str(error)
    if reason:
        default = ",".join(flag.default) if is_list else flag.default
        raise ConfigError(f"--{flag.name}={text}: {reason}, such as --{flag.name}={default}")
    return value
