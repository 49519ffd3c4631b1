"""The objects of a JSON file: one a line, in an array, or over several lines; packed or not.

A line is read before the next one is, so that a file larger than memory is no reason to stop. What
is wrong is named with file and line.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import itertools
import json
import lzma
import pathlib
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa

from verifier.errors import StoreError
from verifier.system import paths

# A comma between objects is a common slip and leaves no doubt.
_NO_BLANK = re.compile(r"[^ \t\r\n,]")
# Bytes of a line: one that is longer is no row of a table, but may be a few bytes that unpack to
# all of memory.
LONGEST = 1 << 28
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_FAULTS = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, UnicodeDecodeError)
# With the three bytes of a byte order mark, which editors leave at either end of a line.
_BLANK = b" \t\r\n\xef\xbb\xbf"


@contextlib.contextmanager
def faults_of(path: pathlib.Path | str) -> Iterator[None]:
    """What unpacking and decoding a file raise, as a StoreError that names it."""
    try:
        yield
    except _FAULTS as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise StoreError(
            f"{path} cannot be read ({reason}); fetch a whole copy, or write it anew"
        ) from error


def fetched(path: pathlib.Path) -> bytes | None:
    """The bytes of a file behind an object store, fetched once; None of one on disk."""
    with faults_of(path):
        return path.read_bytes() if paths.is_remote(path) else None


def is_packed(path: pathlib.Path, content: bytes | None = None) -> bool:
    """Whether a file's first bytes are those of a packed one."""
    with faults_of(path), path.open("rb") if content is None else io.BytesIO(content) as file:
        return file.read(8).startswith(tuple(_PACKED))


def unpacked(path: pathlib.Path, content: bytes | None = None) -> BinaryIO:
    """The bytes of a file, unpacked where its first ones are those of gzip, bzip2, xz or Zstandard.

    Args:
        path: of the file.
        content: its bytes, where they are in memory.

    Raises:
        StoreError: it cannot be opened.
    """
    with faults_of(path):
        file = cast(BinaryIO, path.open("rb")) if content is None else io.BytesIO(content)
        head = file.read(8)
        file.seek(0)
    kind = next((name for magic, name in _PACKED.items() if head.startswith(magic)), "")
    if kind == "zstd":
        return io.BufferedReader(cast(io.RawIOBase, pa.CompressedInputStream(file, "zstd")))
    openers: dict[str, Callable[[BinaryIO], Any]] = {
        "gzip": gzip.open,
        "bz2": bz2.open,
        "xz": lzma.open,
    }
    return cast(BinaryIO, openers[kind](file)) if kind else file


def json_rows(path: pathlib.Path, content: bytes | None = None) -> Iterator[dict[str, Any]]:
    """The objects of a file, or of its bytes, in their order.

    Raises:
        StoreError: the file cannot be read, a line is no JSON object, is nested too deeply or too
            long, or there is no object.
    """
    with unpacked(path, content) as file:
        rows = _rows(file, path)
        first = list(itertools.islice(rows, 2))
        if not first:
            raise StoreError(f"{path} is empty: expected JSON objects, one a line or in an array")
        yield from first if len(first) > 1 else _inner(first[0])
        yield from rows


def _rows(file: BinaryIO, path: pathlib.Path) -> Iterator[dict[str, Any]]:
    for number, line in _lines(file, path):
        line = line.strip(_BLANK)
        if not line:
            continue
        if line.startswith(b"["):
            yield from _document(line + b"\n" + _rest(file, path), path, number)
            return
        text = _decoded(line, path, number)
        try:
            row = loads(text)
        except json.JSONDecodeError as error:
            if line.startswith(b"{") and error.pos >= len(error.doc):  # it goes on in the next line
                yield from _document(line + b"\n" + _rest(file, path), path, number)
                return
            raise _no_json(path, number, error) from error
        except (ValueError, RecursionError) as error:
            raise _no_json(path, number, error) from error
        if not isinstance(row, dict):
            raise StoreError(
                f"{path}, line {number}: {line[:40].decode(errors='replace')!r}; expected an "
                "object such as {...}"
            )
        yield row


def _document(content: bytes, path: pathlib.Path, first: int) -> Iterator[dict[str, Any]]:
    """The objects of arrays, and of objects over several lines, one after the other.

    `first` is the number of the first line.
    """
    whole = _decoded(content, path, first).rstrip(" \t\r\n,\ufeff")
    position = 0
    values: list[Any] = []
    while position < len(whole):
        try:
            begun = _NO_BLANK.search(whole, position)
            assert begun is not None  # there is more than blanks
            value, position = _decode(whole, begun.start())
        except json.JSONDecodeError as error:
            raise _no_json(path, first + error.lineno - 1, error) from error
        except (ValueError, RecursionError) as error:
            raise _no_json(path, first, error) from error
        values += value if isinstance(value, list) else [value]
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise StoreError(
                f"{path}, item {number}: {str(value)[:40]!r}; expected an object such as {{...}}"
            )
        yield value


def _inner(only: dict[str, Any]) -> list[dict[str, Any]]:
    """The only object of a file, or those of the only list of objects in it.

    An object with such a list is {"model": ..., "results": [{...}, ...]}.
    """
    lists = [
        each
        for each in only.values()
        if isinstance(each, list) and each and all(isinstance(one, dict) for one in each)
    ]
    is_row = {"question", "problem", "prompt", "doc", "custom_id"} & only.keys()
    return lists[0] if len(lists) == 1 and not is_row else [only]


def loads(line: str) -> Any:
    """What a JSON text says; whole numbers of more digits than Python reads at once stay text.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise
    except ValueError:  # too many digits
        return json.loads(line, parse_int=str)


def _decode(text: str, start: int) -> tuple[Any, int]:
    try:
        return json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError:
        raise
    except ValueError:  # too many digits
        return json.JSONDecoder(parse_int=str).raw_decode(text, start)


def _lines(file: BinaryIO, path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while True:
        number += 1
        with faults_of(f"{path}, line {number}"):
            line = file.readline(LONGEST)
        if not line:
            return
        if len(line) == LONGEST:
            raise StoreError(
                f"{path}, line {number}: longer than {LONGEST >> 20} MiB; expected one object "
                "a line"
            )
        yield number, line


def _rest(file: BinaryIO, path: pathlib.Path) -> bytes:
    return b"".join(line for _, line in _lines(file, path))


def _decoded(content: bytes, path: pathlib.Path, first: int) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = first + content[: error.start].count(b"\n")
        position = error.start - content.rfind(b"\n", 0, error.start)
        byte = f"byte 0x{content[error.start]:02x} at position {position}"
        raise StoreError(
            f"{path}, line {number}: not UTF-8 ({byte}); convert the file, such as with iconv "
            "-t UTF-8"
        ) from error


def _no_json(path: pathlib.Path, number: int, error: Exception) -> StoreError:
    reason = (
        "nested too deeply"
        if isinstance(error, RecursionError)
        else getattr(error, "msg", str(error))
    )
    return StoreError(
        f"{path}, line {number}: not JSON ({reason}); expected one object a line, or an array "
        "of objects"
    )
