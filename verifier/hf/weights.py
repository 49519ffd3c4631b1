"""Hugging Face checkpoints to a Transformer and back, tensor by tensor.

Of the tokenizer only its size counts; value heads are `hf.verifier`'s.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from verifier.errors import WeightsError
from verifier.hf import other_formats, tensor_checks
from verifier.hf.config import arch_from_hf
from verifier.hf.config_export import family_of, hf_from_arch
from verifier.hf.files import read_json, stored_tensors, write_folder
from verifier.hf.names import FAMILIES, Row, full_name, is_ignored, rows_of
from verifier.hf.safetensors_files import NewTensor, StoredTensor, reader
from verifier.model import sharding
from verifier.model.arch import Arch, grown_rows
from verifier.model.transformer import Transformer
from verifier.system import text_files

_Model = TypeVar("_Model", bound=nnx.Module)
_VOCABULARY = ("embed", "unembed")  # parameters with one row an id


def load_weights(
    folder: str | pathlib.Path,
    *,
    tokenizer_size: int,
    dtype: jax.typing.DTypeLike = jnp.float32,
    mesh: jax.sharding.Mesh | None = None,
    beside: Container[str] = (),
) -> Transformer:
    """Reads config.json and safetensors of a Llama, Mistral, Qwen2, Qwen3, Gemma 3, GPT-2 or T5.

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
    stored, family = stored_tensors(folder), config["model_type"]
    arch = dataclasses.replace(
        stored_arch, vocab_size=rows_needed(stored_arch.vocab_size, tokenizer_size, family, folder)
    )
    if mesh is not None:
        sharding.check(arch, mesh)
    names = _full_names(family, (name for name in stored if name not in beside))
    with reader() as read:
        repeats = FAMILIES[family].repeats
        repeated = tensor_checks.repeat_problems(arch, repeats, names, stored, read)
    tensors = Tensors(folder, family, stored_arch, stored, names)
    put = functools.partial(_put, arch.vocab_size, mesh)
    return filled(lambda: _new(arch, dtype), tensors, put, repeated)


class Tensors(NamedTuple):
    """What a folder holds of a model."""

    folder: pathlib.Path
    family: str
    arch: Arch  # as its config.json says
    stored: Mapping[str, StoredTensor]  # by name as stored
    names: Mapping[str, str]  # as stored, by name with the family's prefix


def filled(
    make: Callable[[], _Model],
    tensors: Tensors,
    put: Callable[[str, np.ndarray], jax.Array],
    problems: list[str],
) -> _Model:
    """A model with a folder's numbers in it, read one tensor at a time.

    Args:
        make: the model, whose own numbers are never computed.
        tensors: of the folder.
        put: a parameter on the device, from its path and what is stored of it.
        problems: contradictions that were noticed before.

    Raises:
        WeightsError: as `load_weights`.
    """
    layers, own = tensors.arch.layers, tensors.arch.encoder_layers
    tensor_checks.check_depth(tensors.folder, layers + own, tensors.stored)
    graph, state = nnx.split(nnx.eval_shape(make))
    shapes = {_dotted(path): tuple(leaf.shape) for path, leaf in nnx.to_flat_state(state)}
    table = rows_of(tensors.family, max(layers, own), shapes)
    expected = {
        name: _stored_shape(row, shapes, tensors.arch.vocab_size) for name, row in table.items()
    }
    found = {full: tensors.stored[name] for full, name in tensors.names.items()}
    tensor_checks.check(tensors.folder, expected, found, problems)
    with reader() as read:
        values = {
            path: put(path, part)
            for full, row in table.items()
            for path, part in _parameter_values(row, read(tensors.names[full], found[full]))
        }
    flat = [(path, leaf.replace(values[_dotted(path)])) for path, leaf in nnx.to_flat_state(state)]
    made: _Model = nnx.merge(graph, nnx.from_flat_state(flat))
    return made


def _full_names(family: str, stored: Iterable[str]) -> dict[str, str]:
    """Names as stored, by name with the family's prefix; without buffers that can be computed."""
    return {full_name(family, name): name for name in stored if not is_ignored(family, name)}


def read_config(folder: pathlib.Path) -> dict[str, Any]:
    """The config.json of a model's folder.

    Raises:
        WeightsError: no such folder, or none in it; with what is there instead.
    """
    if not folder.is_dir():
        raise WeightsError(
            f"there is no folder {folder}; give one with config.json and model.safetensors, or "
            "resolve_weights of a hub id"
        )
    if not (folder / "config.json").is_file():
        text_files.refuse_dead_links(folder, WeightsError)
        other = "" if any(folder.glob("model*.safetensors")) else other_formats.problem(folder)
        inside = sorted(path.parent for path in folder.glob("*/config.json"))
        way_out = "take it from where the weights come from"
        if inside:
            way_out = f"do you mean {inside[0]}, which holds one?"
        raise WeightsError(other or f"{folder} holds no config.json; {way_out}")
    return read_json(folder / "config.json")


def _described(folder: pathlib.Path, beside: Container[str]) -> tuple[dict[str, Any], Arch]:
    """The config.json of a folder and its architecture; raises and `beside` as `load_weights`."""
    config = read_config(folder)
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
    """Writes config.json and float32 safetensors for load_weights, and for AutoModelForCausalLM, or
    AutoModelForSeq2SeqLM where there is an encoder.

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
        "eos_token_id": arch.close_id if arch.encoder_layers else end_id,
        "pad_token_id": arch.start_id if arch.encoder_layers else None,
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
        for name, row in rows_of(family, max(arch.layers, arch.encoder_layers), shapes).items()
    ]
    return config, tensors


def _new(arch: Arch, dtype: jax.typing.DTypeLike) -> Transformer:
    return Transformer(arch, rngs=nnx.Rngs(0), dtype=dtype)


def _put(rows: int, mesh: jax.sharding.Mesh | None, path: str, values: np.ndarray) -> jax.Array:
    """A parameter on the device or the mesh, with `rows` rows where it has one an id."""
    values = _grown(values, rows) if path in _VOCABULARY else values
    if mesh is None:
        return jnp.asarray(values)
    return sharding.put(path.replace(".", "/"), values, mesh)


def _dotted(path: tuple[Any, ...]) -> str:
    """A parameter's path as the name tables write it: blocks.0.attention.query.kernel."""
    return ".".join(map(str, path))


def rows_needed(rows: int, tokenizer_size: int, family: str, folder: object) -> int:
    """Rows that the embedding needs for a tokenizer.

    As many as are stored, or more where only the reserved id (and what the family is known to lack)
    has none.

    Raises:
        WeightsError: a tokenizer larger than the embedding; `folder` is named.
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
    if missing == 0:
        return values_VD
    return np.concatenate([values_VD, np.tile(values_VD.mean(axis=0), (missing, 1))])


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
