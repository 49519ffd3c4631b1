"""One safetensors file: its header read and checked, its values read, and a new one written."""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors

from verifier.errors import WeightsError
from verifier.system import text_files

_FLOATS = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_MOST_HEADER = 100_000_000  # bytes, as the safetensors library has it


class StoredTensor(NamedTuple):
    """Where a tensor lies and what its file's header says of it."""

    path: pathlib.Path
    dtype: str
    shape: tuple[int, ...]


class NewTensor(NamedTuple):
    """A float32 tensor to be written.

    Values are asked for only when its turn comes, so that one tensor at a time is in memory.
    """

    name: str
    shape: tuple[int, ...]
    values: Callable[[], np.ndarray]


def read_header(path: pathlib.Path) -> dict[str, StoredTensor]:
    """Name, dtype and shape of every tensor of a file.

    Values are checked to lie as the header says, end to end to the file's end.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        text_files.refuse_pointer(path, start, WeightsError)
        length = int.from_bytes(start, "little")
        if size < 8 or 8 + length > size:
            raise WeightsError(
                f"{path} is truncated or no safetensors: {size} bytes, at least {8 + length} "
                "expected; download it again"
            )
        try:
            if length > _MOST_HEADER:
                raise ValueError(f"{length} bytes, at most {_MOST_HEADER} are allowed")
            header = json.loads(file.read(length), object_pairs_hook=_distinct)
            tensors, end = _tensors(path, header)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(
                f"{path} has no readable safetensors header ({error}); download it again"
            ) from error
    if size != 8 + length + end:
        raise WeightsError(
            f"{path} is truncated or damaged: {size} bytes, {8 + length + end} expected by its "
            "header; download it again"
        )
    return tensors


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names differ."""
    by_name = dict(pairs)
    if len(by_name) < len(pairs):
        raise ValueError("a name stands twice in it")
    return by_name


def _tensors(path: pathlib.Path, header: dict[str, Any]) -> tuple[dict[str, StoredTensor], int]:
    """What a header says of its tensors, and where their values end.

    Raises:
        ValueError: they overlap, or size and shape disagree.
    """
    tensors, spans = {}, []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
            raise ValueError(f"{name} has the shape {shape} and lies from {begin} to {end}")
        if dtype in _FLOATS and math.prod(shape) * _FLOATS[dtype].itemsize != end - begin:
            raise ValueError(f"{name} of {dtype} and shape {shape} takes {end - begin} bytes")
        tensors[name] = StoredTensor(path, dtype, tuple(shape))
        spans.append((begin, end, name))
    last = 0
    for begin, end, name in sorted(spans):
        if begin != last or end < begin:
            raise ValueError(
                f"{name} lies from {begin} to {end}, where the one before it ends at {last}"
            )
        last = end
    return tensors, last


def is_readable(tensor: StoredTensor) -> bool:
    """False for integers, booleans and 8-bit floats: quantised weights."""
    return tensor.dtype in _FLOATS


@contextlib.contextmanager
def reader() -> Iterator[Callable[[str, StoredTensor], np.ndarray]]:
    """Gives read(name, tensor) -> float32 array.

    Every file is mapped once and none of it is kept in memory.

    Raises:
        WeightsError: from `read`: a file that the safetensors library refuses, or a tensor with
            numbers that are not finite.
    """
    with contextlib.ExitStack() as stack:
        opened: dict[pathlib.Path, Any] = {}

        def read(name: str, tensor: StoredTensor) -> np.ndarray:
            try:
                if tensor.path not in opened:
                    opened[tensor.path] = stack.enter_context(
                        safetensors.safe_open(tensor.path, framework="numpy")
                    )
                stored = opened[tensor.path].get_tensor(name)
            except safetensors.SafetensorError as error:
                raise WeightsError(
                    f"{tensor.path} cannot be read by the safetensors library ({error}); "
                    "download it again"
                ) from error
            with np.errstate(over="ignore", invalid="ignore"):
                values = np.asarray(stored, dtype=np.float32)
                # One pass without a copy tells it of all but sums that overflow.
                sums = bool(np.isfinite(values.sum()))
            if not sums and not (finite := np.isfinite(values)).all():
                count = values.size - int(finite.sum())
                raise WeightsError(
                    f"{name} in {tensor.path} holds {count:,} numbers of {values.size:,} that "
                    "are not finite (NaN, infinite, or beyond float32): a training that "
                    "diverged, or a damaged file; take other weights"
                )
            return values

        yield read


def byte_count(tensor: NewTensor) -> int:
    return 4 * int(np.prod(tensor.shape))


def write_tensors(file: Any, tensors: Sequence[NewTensor]) -> None:
    """The safetensors format: length of the header, header, values.

    By hand, because the library wants all values in memory at once.
    """
    # Older transformers refuse a file without it.
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in tensors:
        header[tensor.name] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [end, end + byte_count(tensor)],
        }
        end += byte_count(tensor)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors:
        file.write(np.ascontiguousarray(tensor.values(), dtype="<f4").data)
