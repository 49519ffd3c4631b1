"""A teacher's solutions out of files made elsewhere, as a table of samples with the words' bytes.

The files are logs of completions (`token_logs`), one JSON object a line with a list `choices` at
some place, or any file that `external` reads, which has texts alone. What an object has beside its
choices (a question or a problem_id) is found as in `recognition`.

A log may be larger than memory, and the solutions of a problem may lie anywhere in it: the rows are
put aside by problem first.
"""

from __future__ import annotations

import collections
import itertools
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from verifier.errors import StoreError, TablesError
from verifier.ingest import (
    aside,
    file_formats,
    json_rows,
    recognition,
    shapes,
    token_logs,
    unnesting,
)
from verifier.ingest.external import AS_FOUND, Reading
from verifier.ingest.pieces import Piece
from verifier.ingest.token_logs import Wanted
from verifier.system import log
from verifier.tables import plain_text, schemas, store
from verifier.text.problem import problem_id

# What nobody knows of samples made elsewhere.
_UNKNOWN = ("tokens", "forced", "seed", "calculator_errors")
_COLUMNS: dict[Wanted, tuple[str, ...]] = {
    "text": (),
    "logprobs": ("pieces",),
    "top_logprobs": ("pieces", "top_pieces", "top_logprobs"),
}
_LOOKED_AT = 16  # rows by which it is recognised where the choices are
_BLANK = b" \t\r\n\xef\xbb\xbf"  # with a byte order mark
_UNPACKED = 16  # times its packed bytes, at most, that a log has
_NO_ID = -1  # of a sample, until it is numbered
_AT_ONCE = 1024  # rows that are put aside together


class _Log(NamedTuple):
    """Where a log of completions keeps what is read of it.

    Attributes:
        choices: path of the list; empty: every row is a choice.
        fields: by name, the path of what a row says beside it.
    """

    choices: str
    fields: Mapping[str, str]


def write_samples(
    path: pathlib.Path,
    folder: pathlib.Path,
    settings: Mapping[str, Any],
    wanted: Wanted | None = None,
    how: Reading = AS_FOUND,
) -> None:
    """Writes the table of a split, unless it is there.

    Args:
        path: of a file, a folder of files or a pattern.
        folder: of the split, `tables/samples/split=train`.
        settings: for the table's manifest.
        wanted: what every solution must have beside its text; None: as much as the first has.
        how: to read the files.

    Raises:
        TablesError: no solutions, or of one not what is wanted; with file and row.
        StoreError: a file cannot be read, or the folder holds a table of other settings.
    """
    if (there := store.read_manifest(folder)) is not None:
        if there["settings"] != dict(settings):
            raise StoreError(
                f"{folder} holds a table of other settings, {there['settings']}; expected "
                f"{dict(settings)}: remove the folder to read {path} anew"
            )
        return
    files = [file for file in file_formats.files_of(path) if file.stat().st_size]
    if not files:
        raise TablesError(f"{path} is empty: expected at least one row")
    whole = _log_of(files[0], how)
    if whole is None and wanted in ("logprobs", "top_logprobs"):
        raise TablesError(
            f"{path}: no log-probabilities in it; expected a log of completions, rows with a list "
            "`choices` whose objects have `logprobs`"
        )
    kept = "text" if whole is None else wanted or _told(files[0], whole)
    less = (*_UNKNOWN, *(() if _COLUMNS[kept] else ("logprobs",)))
    schema = schemas.variant("samples", _COLUMNS[kept], less)
    rows = _texts(path, how, schema) if whole is None else _logged(files, kept, how, schema)
    table = store.TableWriter(folder, "samples", settings, schema=schema)
    size = sum(
        file.stat().st_size * (_UNPACKED if json_rows.is_packed(file) else 1) for file in files
    )
    with aside.by_problem(folder.with_name(f"{folder.name}.aside"), rows, size) as lots:
        for lot in lots:
            # of an earlier start the last lots are missing
            if not table.present().issuperset(lot["problem_id"].to_pylist()):
                table.append(_numbered(lot, path))
    table.finish({"seconds": table.seconds(), "wanted": kept})


def _log_of(path: pathlib.Path, how: Reading) -> _Log | None:
    """Where a file keeps its choices; None where it is no log of completions."""
    with json_rows.unpacked(path) as file, json_rows.faults_of(path):
        if file.read(64).lstrip(_BLANK)[:1] not in (b"{", b"["):
            return None
    # one after the other: a row of many choices takes some 100 MB
    shape = shapes.shape_of_rows(itertools.islice(json_rows.json_rows(path), _LOOKED_AT))
    paths = [name for name in shape if f".{name}".endswith(".choices")]
    paths = [
        each for each in paths if f"{each}.message.content" in shape or f"{each}.text" in shape
    ]
    if not paths and not ("logprobs" in shape and ("text" in shape or "message.content" in shape)):
        return None
    choices = min(paths, key=len, default="")
    inside = f"{choices}." if choices else ""
    spoken = f"{inside}message.content"
    text = spoken if spoken in shape else f"{inside}text"
    given, layout = {"solution": text, **how.fields}, how.layout
    if layout == "auto" and "custom_id" in shape and "problem_id" not in given:
        given["problem_id"] = "custom_id"
    model = f"{choices.rpartition('.')[0]}.model".lstrip(".")
    if model in shape:
        given.setdefault("generator", model)
    chosen = recognition.choose(shape, layout, given, str(path))
    return _Log(choices, chosen.fields)


def _told(path: pathlib.Path, whole: _Log) -> Wanted:
    """What the first solution of a log has."""
    for row in json_rows.json_rows(path):
        for choice in _choices(row, whole):
            return token_logs.told(choice)
    raise TablesError(f"{path}: no row has a choice; expected solutions under `{whole.choices}`")


def _choices(row: Mapping[str, Any], whole: _Log) -> list[Mapping[str, Any]]:
    """The choices of a row in their order; none where the server answered with an error."""
    if not whole.choices:
        return [row]
    there = unnesting.at(row, whole.choices)
    choices = [each for each in there or () if isinstance(each, Mapping)]
    return sorted(choices, key=lambda each: each.get("index") or 0)


def _logged(
    files: list[pathlib.Path], wanted: Wanted, how: Reading, schema: pa.Schema
) -> Iterator[pa.Table]:
    """The solutions of logs, in their order."""
    waiting: list[dict[str, Any]] = []
    for path in files:
        if not path.stat().st_size:
            continue
        whole, bare = _log_of(path, how), 0
        if whole is None:
            raise TablesError(
                f"{path}: no log of completions, unlike {files[0]}; read it by itself"
            )
        for number, row in enumerate(json_rows.json_rows(path), start=1):
            about = _about(row, whole, f"{path}, row {number}")
            choices = _choices(row, whole)
            bare += not choices
            for index, choice in enumerate(choices, start=1):
                where = f"{path}, row {number}" + (f", choice {index}" if choices[1:] else "")
                made = token_logs.read_choice(choice, wanted, where)._asdict()
                waiting.append({"solution": made.pop("text"), **made, **about})
            if len(waiting) >= _AT_ONCE:
                yield _table(waiting, schema)
                waiting = []
        if bare:
            log.say(f"warning: {path}: {bare:,} rows hold no choice and are left out")
    if waiting:
        yield _table(waiting, schema)


def _about(row: Mapping[str, Any], whole: _Log, where: str) -> dict[str, Any]:
    """Whose solutions a row holds, and who wrote them."""

    def told(name: str) -> Any:
        value = unnesting.at(row, whole.fields[name]) if name in whole.fields else None
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    own, question, sample = told("problem_id"), told("question"), told("sample_id")
    if own is None and not isinstance(question, str):
        raise TablesError(
            f"{where}: no question, nor a problem_id; expected one of them beside the choices, by "
            "that name: add it to the row"
        )
    if sample is not None and (not isinstance(sample, int) or sample < 0):
        raise TablesError(f"{where}: sample_id is {sample!r}; expected a number from 0 on")
    return {
        "problem_id": problem_id(str(question)) if own is None else str(own),
        "sample_id": _NO_ID if sample is None else sample,
        "generator": str(told("generator") or ""),
    }


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    columns = [
        pa.array([row[name] for row in rows], schema.field(name).type) for name in schema.names
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _texts(path: pathlib.Path, how: Reading, schema: pa.Schema) -> Iterator[pa.Table]:
    """The solutions of files that hold texts alone."""
    scan = file_formats.scan(path, how.layout, how.fields)
    wanted = ("problem_id", "question", "solution", "sample_id", "generator")
    for table, first in scan.one_by_one([name for name in wanted if name in scan.names]):
        piece, count = Piece(table, first, scan), len(table)
        made = {
            "problem_id": piece.problem_ids(),
            "sample_id": piece.sample_ids() if "sample_id" in scan.names else [_NO_ID] * count,
            "solution": plain_text.text_column(piece.filled("solution")),
            "finish": ["eos"] * count,
            "generator": piece.texts("generator").fill_null("")
            if "generator" in scan.names
            else [""] * count,
        }
        yield pa.table({name: made[name] for name in schema.names}).cast(schema)


def _numbered(rows: pa.Table, path: pathlib.Path) -> pa.Table:
    """Samples of whole problems; those without ids of their own get the first ones that are free,
    in the order of the files.

    Raises:
        TablesError: two samples of a problem have the same id.
    """
    problems, ids = rows["problem_id"].to_pylist(), rows["sample_id"].to_pylist()
    taken: dict[str, set[int]] = collections.defaultdict(set)
    for problem, sample in zip(problems, ids, strict=True):
        if sample in taken[problem]:
            raise TablesError(
                f"{path}: sample_id {sample} of problem {problem} stands twice; expected each once "
                "a problem: number them otherwise, or leave sample_id out of all rows, for a "
                "number in their order"
            )
        if sample != _NO_ID:
            taken[problem].add(sample)
    free: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)
    for index, problem in enumerate(problems):
        if ids[index] == _NO_ID:
            ids[index] = next(each for each in free[problem] if each not in taken[problem])
    at = rows.schema.get_field_index("sample_id")
    return rows.set_column(at, rows.schema.field(at), pa.array(ids, pa.int32()))
