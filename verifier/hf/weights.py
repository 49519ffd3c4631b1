"""Hugging Face checkpoints to a Transformer and back, tensor by tensor.

Knows no tokenizer (only its size) and no value head.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Container, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.errors import WeightsError
from verifier.hf import other_formats
from verifier.hf.config import arch_from_hf, family_of, hf_from_arch
from verifier.hf.files import read_json, stored_tensors, write_folder
from verifier.hf.names import FAMILIES, Row, full_name, is_ignored, rows_of
from verifier.hf.safetensors_files import NewTensor, StoredTensor, is_readable, reader
from verifier.model import sharding
from verifier.model.arch import Arch, grown_rows
from verifier.model.transformer import Transformer
from verifier.system import text_files

_VOCABULARY = ("embed", "unembed")  # parameters with one row an id
_SHOWN = 20  # names of a long list in a message


def load_weights(
    folder: str | pathlib.Path,
    *,
    tokenizer_size: int,
    dtype: jax.typing.DTypeLike = jnp.float32,
    mesh: jax.sharding.Mesh | None = None,
    beside: Container[str] = (),
) -> Transformer:
    """Reads config.json and model.safetensors (or its shards) of a Llama, Mistral, Qwen2, Qwen3,
    Gemma 3 or GPT-2 model.

    The value head's reserved id is `tokenizer_size`, so tokenizer_size + 1 rows are needed. Where
    the checkpoint has exactly tokenizer_size rows, the embedding (and an untied output) grows to
    the next multiple of 64; the new rows are the mean of the others.

    Args:
        folder: local; see resolve_weights.
        tokenizer_size: ids that the tokenizer can produce.
        dtype: of the activations. Parameters become float32, stored as float16, bfloat16 or
            float32.
        mesh: where the parameters go, each device holding its share; None: the default device.
        beside: stored tensors of another head, which are passed over; the output is then the
            embedding.

    Returns:
        the model. Beside it, one tensor at a time is held in memory.

    Raises:
        WeightsError: files missing or damaged; unsupported config; a tokenizer larger than the
            embedding; all wrong tensors at once.
        ConfigError: a mesh that does not divide the model.
    """
    folder = pathlib.Path(folder)
    config, stored_arch = _described(folder, beside)
    stored = stored_tensors(folder)
    if stored_arch.layers > len(stored):  # before anything is built: a layer has several tensors
        raise WeightsError(
            f"{folder / 'config.json'} says that there are {stored_arch.layers:,} layers, but "
            f"the files hold {len(stored):,} tensors in all; do they belong together?"
        )
    family = config["model_type"]
    arch = dataclasses.replace(
        stored_arch, vocab_size=rows_needed(stored_arch.vocab_size, tokenizer_size, family, folder)
    )
    if mesh is not None:
        sharding.check(arch, mesh)
    graph, state = nnx.split(nnx.eval_shape(functools.partial(_new, arch, dtype)))
    shapes = {_dotted(path): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(state)}
    table = rows_of(family, arch.layers, shapes)
    expected = {
        name: _stored_shape(row, shapes, stored_arch.vocab_size) for name, row in table.items()
    }
    found = {
        full_name(family, name): name
        for name in stored
        if not is_ignored(family, name) and name not in beside
    }
    values: dict[str, jax.Array] = {}
    with reader() as read:
        tied = _tied_problem(arch, found, stored, read)
        _check(folder, expected, {full: stored[name] for full, name in found.items()}, tied)
        for name, row in table.items():
            for path, part in _parameter_values(row, read(found[name], stored[found[name]])):
                values[path] = _put(
                    path, _grown(part, arch.vocab_size) if path in _VOCABULARY else part, mesh
                )
    filled = [
        (path, leaf.replace(values[_dotted(path)])) for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graph, nnx.from_flat_state(filled))


def _described(folder: pathlib.Path, beside: Container[str]) -> tuple[dict[str, Any], Arch]:
    """The config.json of a folder and its architecture; raises and `beside` as `load_weights`."""
    if not folder.is_dir():
        raise WeightsError(
            f"there is no folder {folder}; give one with config.json and model.safetensors, or "
            "resolve_weights of a hub id"
        )
    if not (folder / "config.json").is_file():
        text_files.refuse_dead_links(folder, WeightsError)
        other = "" if any(folder.glob("model*.safetensors")) else other_formats.problem(folder)
        inside = sorted(path.parent for path in folder.glob("*/config.json"))
        way_out = (
            f"do you mean {inside[0]}, which holds one?"
            if inside
            else "take it from where the weights come from"
        )
        raise WeightsError(other or f"{folder} holds no config.json; {way_out}")
    config = read_json(folder / "config.json")
    if beside:  # a checkpoint with another head has no output matrix, whatever its base model had
        config["tie_word_embeddings"] = True
    try:
        stored_arch = arch_from_hf(config)
    except WeightsError as error:
        raise WeightsError(f"{folder / 'config.json'}: {error}") from error
    return config, stored_arch


def save_weights(
    transformer: Transformer,
    folder: str | pathlib.Path,
    *,
    tokenizer_size: int | None = None,
    end_id: int | None = None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Writes config.json and float32 safetensors that transformers' AutoModelForCausalLM (and
    load_weights) read.

    Args:
        transformer: its parameters fully addressable from this host.
        folder: made if missing; an earlier export in it is replaced. The tokenizer's files are
            saved by the tokenizer.
        tokenizer_size: ids that the tokenizer can produce. Rows of further ids, which nothing
            trained and `generate` would draw from, are left out; load_weights makes new ones. None:
            all rows.
        end_id: the token that ends a text, for `generate`; None: nobody knows.
        shard_bytes: a larger model is written as several files with an index.

    Raises:
        WeightsError: no supported Hugging Face family computes this architecture.
    """
    config, tensors = stored_form(transformer, tokenizer_size, end_id)
    write_folder(pathlib.Path(folder), config, tensors, shard_bytes)


def stored_form(
    transformer: Transformer, tokenizer_size: int | None, end_id: int | None
) -> tuple[dict[str, Any], list[NewTensor]]:
    """The config.json and the tensors of a transformer; arguments and errors as `save_weights`."""
    arch = dataclasses.replace(
        transformer.arch, vocab_size=tokenizer_size or transformer.arch.vocab_size
    )
    family = family_of(arch)
    # Left out, transformers would take the ids of the family's first model for begin, end and
    # padding.
    config = hf_from_arch(arch) | {
        "bos_token_id": None,
        "eos_token_id": end_id,
        "pad_token_id": None,
    }
    parameters = {
        _dotted(path): leaf[...]
        for path, leaf in nnx.to_flat_state(nnx.state(transformer, nnx.Param))
    }
    shapes = {path: tuple(value.shape) for path, value in parameters.items()}
    tensors = [
        NewTensor(
            name,
            _stored_shape(row, shapes, arch.vocab_size),
            functools.partial(_stored_values, row, parameters, arch.vocab_size),
        )
        for name, row in rows_of(family, arch.layers, shapes).items()
    ]
    return config, tensors


def _new(arch: Arch, dtype: jax.typing.DTypeLike) -> Transformer:
    return Transformer(arch, rngs=nnx.Rngs(0), dtype=dtype)


def _put(path: str, values: np.ndarray, mesh: jax.sharding.Mesh | None) -> jax.Array:
    return (
        jnp.asarray(values) if mesh is None else sharding.put(path.replace(".", "/"), values, mesh)
    )


def _dotted(path: tuple[Any, ...]) -> str:
    """A parameter's path in the tree as the name tables write it:
    blocks.0.attention.query.kernel.
    """
    return ".".join(map(str, path))


def rows_needed(rows: int, tokenizer_size: int, family: str, folder: object) -> int:
    """Rows of the embedding: as stored, or more where only the reserved id (and what the family is
    known to lack) has none.
    """
    if tokenizer_size > rows + FAMILIES[family].rowless:
        raise WeightsError(
            f"tokenizer larger than the embedding: {tokenizer_size} ids, {rows} rows in "
            f"{folder}; use the tokenizer of these weights"
        )
    return rows if tokenizer_size < rows else grown_rows(tokenizer_size + 1)


def _grown(values_VD: np.ndarray, rows: int) -> np.ndarray:
    """With the mean row appended until there are `rows`."""
    missing = rows - len(values_VD)
    return (
        values_VD
        if missing == 0
        else np.concatenate([values_VD, np.tile(values_VD.mean(axis=0), (missing, 1))])
    )


def _stored_shape(
    row: Row, shapes: Mapping[str, tuple[int, ...]], vocab_size: int
) -> tuple[int, ...]:
    """The shape that the checkpoint's tensor has, from those of our parameters."""
    first = shapes[row.paths[0]]
    if row.paths[0] in _VOCABULARY:
        return (vocab_size, *first[1:])
    shape = (*first[:-1], sum(shapes[path][-1] for path in row.paths))
    return shape[::-1] if row.transposed else shape


def _parameter_values(row: Row, whole: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The parameters that a stored tensor holds, with their paths."""
    whole = whole.T if row.transposed else whole
    whole = whole + np.float32(row.offset) if row.offset else whole
    return list(zip(row.paths, np.split(whole, len(row.paths), axis=-1), strict=True))


def _stored_values(row: Row, parameters: Mapping[str, jax.Array], vocab_size: int) -> np.ndarray:
    parts = [
        np.asarray(parameters[path][:vocab_size] if path in _VOCABULARY else parameters[path])
        for path in row.paths
    ]
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    whole = whole - np.float32(row.offset) if row.offset else whole
    return whole.T if row.transposed else whole


def _tied_problem(
    arch: Arch, found: dict[str, str], stored: Mapping[str, StoredTensor], read: Any
) -> list[str]:
    """Takes an output matrix that repeats a tied embedding out of `found`; a problem where it does
    not repeat it.
    """
    output = found.get("lm_head.weight")
    embedding = next(
        (
            name
            for full, name in found.items()
            if full.endswith(("embed_tokens.weight", "wte.weight"))
        ),
        None,
    )
    if not arch.tied or output is None or embedding is None:
        return []
    del found["lm_head.weight"]
    pair = [(name, stored[name]) for name in (output, embedding)]
    if all(is_readable(tensor) for _, tensor in pair) and np.array_equal(
        read(*pair[0]), read(*pair[1])
    ):
        return []
    return [
        f"{output} differs from {embedding} although config.json ties them; set "
        "tie_word_embeddings to false there"
    ]


def _check(
    folder: pathlib.Path,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, StoredTensor],
    more_problems: list[str],
) -> None:
    """Raises one error with all that is wrong with the tensors."""
    both = [name for name in expected if name in found]
    misshapen = [
        f"{name}: expected {expected[name]}, found {found[name].shape}"
        for name in both
        if found[name].shape != expected[name]
    ]
    unreadable = [f"{name}: {found[name].dtype}" for name in both if not is_readable(found[name])]
    problems = {
        "missing": [name for name in expected if name not in found],
        "unexpected": [
            f"{name} {tensor.shape}" for name, tensor in found.items() if name not in expected
        ],
        "misshapen": misshapen,
        "of none of the types float16, bfloat16, float32, float64 (quantised weights?)": unreadable,
        "contradictory": more_problems,
    }
    lines = [
        f"{len(names)} {problem}: {_listed(names)}" for problem, names in problems.items() if names
    ]
    if lines:
        raise WeightsError(
            "\n".join(
                [
                    f"the tensors in {folder} are not those of its config.json; do they belong "
                    "together?",
                    *lines,
                ]
            )
        )


def _listed(names: list[str]) -> str:
    more = f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
