"""The files of others that a result was made from: known by their sums, wherever they lie now."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.config import Mark
from verifier.hf import files as hf_files
from verifier.system import checksums, paths

_WEIGHTS = config_lib.marked(Mark.WEIGHTS)
_TEXTS = config_lib.marked(Mark.TEXTS)
_ENCODERS = config_lib.marked(Mark.ENCODER)
_READ = ("*.json", "*.model", "*.jinja")  # of a folder, how its weights and its tokenizer are read
_FOLDER_OF_TEXTS = ("*.txt", "*.jsonl")
_BESIDE = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "config.json",
    "chat_template.jinja",
)


def sums(config: config_lib.Config, knobs: Sequence[str]) -> dict[str, dict[str, str]]:
    """The SHA-256 of every file that a stage's knobs name, by knob and name; a knob that is not set
    is left out.

    Raises:
        WeightsError: there are no such weights.
    """
    flat = config_lib.flatten(config)
    named = {knob: str(flat[knob]) for knob in knobs if flat[knob]}
    sources = {
        knob: hf_files.resolve_weights(value) if knob in _WEIGHTS else paths.local(value)
        for knob, value in named.items()
    }
    return {knob: _sums(knob, path) for knob, path in sources.items()}


def changed(noted: Mapping[str, Any], sums: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The knobs whose files are others than those that were noted.

    Args:
        noted: sums by knob and name; a knob that is not among them is not known to have changed.
        sums: of what is there now, as `sums` gives them.
    """
    return [knob for knob, own in sums.items() if knob in noted and noted[knob] != own]


def identity(settings: Mapping[str, Any], sums: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """What a result depends on, wherever the files lie: settings with the sums of files in the
    place of their paths.
    """
    return {knob: value for knob, value in settings.items() if knob not in sums} | {"inputs": sums}


def same(knob: str, value: str, manifest: Mapping[str, Any]) -> bool:
    """Whether a knob's value leads to the very files that a result was made from, by the sums that
    its manifest notes.

    Args:
        knob: by dotted path; the answer is False for one that names no files.
        value: another one than the result was made with.
        manifest: of the result; older ones note the sums of the weights alone, and others none.

    Raises:
        UserError: no file system has such a path.
    """
    weights = manifest.get("weights") or {}
    known = manifest.get("inputs", {}).get(knob)
    path = paths.local(value)
    if not path.exists():
        return knob in _WEIGHTS and hf_files.is_hub_id(value, weights)
    if known is None:
        older = (
            weights if knob == ("verify.weights" if "head" in manifest else "model.weights") else {}
        )
        return bool(older) and path.is_dir() and hf_files.sums(path) == older
    return _sums(knob, path) == known


def _sums(knob: str, path: pathlib.Path) -> dict[str, str]:
    """Of a folder what is read of it; of a file its own, and those beside it that say how a
    tokenizer is read.
    """
    if path.is_dir():
        patterns: tuple[str, ...] = _FOLDER_OF_TEXTS if knob in _TEXTS else _READ
        if knob in {*_WEIGHTS, *_ENCODERS}:
            patterns = (*_READ, "*.safetensors")
        if knob in _ENCODERS:  # sentence-transformers has folders for its modules
            patterns = (*patterns, *(f"*/{pattern}" for pattern in patterns))
        inside = {each.relative_to(path) for pattern in patterns for each in path.glob(pattern)}
        return checksums.of_files(path, map(str, inside))
    names = (path.name,) if knob in _TEXTS else (path.name, *_BESIDE)
    return checksums.of_files(
        path.parent, {name for name in names if (path.parent / name).is_file()}
    )
