"""What a run takes for model.dtype=auto: one type for a whole workdir, wherever it goes on."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from verifier import config as config_lib
from verifier.model import precision
from verifier.run import hosts, workdir
from verifier.system import log

_KNOB = "model.dtype"


def settled(config: config_lib.Config, roots: Iterable[pathlib.Path]) -> config_lib.Config:
    """The settings with a type in the place of `auto`; says which one, and why.

    Results of two types are not mixed: what has been begun goes on in its type, whatever the device
    is fast in.

    Args:
        config: of the run.
        roots: its workdir, or those of a sweep's runs; those that are missing have not been begun.

    Raises:
        Damaged: the config.json of a workdir is not what was written.
    """
    if config.model.dtype != "auto":
        return config
    dtype = hosts.from_first(_KNOB, lambda: _chosen(roots))
    return config_lib.override(config, [f"{_KNOB}={dtype}"])


def _chosen(roots: Iterable[pathlib.Path]) -> str:
    for root in roots:
        if settings := workdir.saved_settings(root):
            dtype = str(settings.get(_KNOB, config_lib.ModelConfig.dtype))
            log.say(f"{_KNOB}=auto: {dtype}, with which {root} was begun")
            return dtype
    choice = precision.of_this_device()
    log.say(f"{_KNOB}=auto: {choice.dtype}, for {choice.why}")
    return choice.dtype
