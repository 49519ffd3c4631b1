"""Whether a folder's tensors are those of its config.json: all that is wrong, said at once."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence, Sized

import numpy as np

from verifier.errors import WeightsError
from verifier.hf.safetensors_files import StoredTensor, is_readable
from verifier.model.arch import Arch

_SHOWN = 20  # names of a long list in a message


def check_depth(folder: pathlib.Path, layers: int, stored: Sized) -> None:
    """Refuses more layers than there are tensors, before anything is built: a layer has several.

    Raises:
        WeightsError: there are.
    """
    if layers > len(stored):
        raise WeightsError(
            f"{folder / 'config.json'} says that there are {layers:,} layers, but "
            f"the files hold {len(stored):,} tensors in all; do they belong together?"
        )


def check(
    folder: pathlib.Path,
    expected: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, StoredTensor],
    more_problems: list[str],
) -> None:
    """Refuses tensors that are not those of the config.json.

    Args:
        folder: where they lie.
        expected: shapes by name with the family's prefix.
        stored: what there is, by such names.
        more_problems: contradictions that were noticed before.

    Raises:
        WeightsError: one, with all that is wrong.
    """
    both = [name for name in expected if name in stored]
    misshapen = [
        f"{name}: expected {expected[name]}, found {stored[name].shape}"
        for name in both
        if stored[name].shape != expected[name]
    ]
    unreadable = [f"{name}: {stored[name].dtype}" for name in both if not is_readable(stored[name])]
    problems = {
        "missing": [name for name in expected if name not in stored],
        "unexpected": [
            f"{name} {tensor.shape}" for name, tensor in stored.items() if name not in expected
        ],
        "misshapen": misshapen,
        "of none of the types float16, bfloat16, float32, float64 (quantised weights?)": unreadable,
        "contradictory": more_problems,
    }
    lines = [
        f"{len(names)} {problem}: {_listed(names)}" for problem, names in problems.items() if names
    ]
    if lines:
        fault = (
            f"the tensors in {folder} are not those of its config.json; do they belong together?"
        )
        raise WeightsError("\n".join([fault, *lines]))


def _listed(names: list[str]) -> str:
    more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more


def repeat_problems(
    arch: Arch,
    repeats: Sequence[str],
    names: dict[str, str],
    stored: Mapping[str, StoredTensor],
    read: Callable[[str, StoredTensor], np.ndarray],
) -> list[str]:
    """Takes what repeats the embedding out of `names`, such as a tied output matrix.

    Args:
        arch: says whether they are tied.
        repeats: further names with the family's prefix that repeat it.
        names: of tensors as stored, by name with the family's prefix.
        stored: by name as stored.
        read: as `safetensors_files.reader` gives it.

    Returns:
        the problems, where something does not repeat the embedding.
    """
    embedding = next(
        (
            name
            for full, name in names.items()
            if full.endswith(("embed_tokens.weight", "wte.weight", "shared.weight"))
            and full not in repeats
        ),
        None,
    )
    if embedding is None:
        return []
    problems = []
    for full in [*repeats, *(["lm_head.weight"] if arch.tied else [])]:
        if full not in names:
            continue
        repeat = names.pop(full)
        pair = [(name, stored[name]) for name in (repeat, embedding)]
        if all(is_readable(tensor) for _, tensor in pair) and np.array_equal(
            read(*pair[0]), read(*pair[1])
        ):
            continue
        way_out = "its family has one embedding: are these its weights?"
        if full not in repeats:
            way_out = "config.json ties them; set tie_word_embeddings to false there"
        problems.append(f"{repeat} differs from {embedding} although {way_out}")
    return problems
