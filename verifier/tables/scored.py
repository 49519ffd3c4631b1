"""A run's scored samples as one JSONL file, for other tools and for `rerank --samples`.

One object a line: `question`, `solution`, the gold `answer`, `extracted` (the answer found in the
solution, or null), `correct`, `score` (null in a split that is not scored, for a sample beyond the
verifier's context, or where it is no finite number), `likelihood` and `likelihood_own` (of the
solution under its generator, in nats, with and without what the calculator wrote), `problem_id`,
`sample_id`, `split`, the ids of the `generator` that drew it, of the `verifier` that scored it and
of the generator that this was `trained_on`; where asked for, `tokens` and the value after each,
`token_scores` (these alone where the verifier read a solution's text in tokens of its own). The
answer is the one it was graded by.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.errors import TablesError
from verifier.grading import corrections
from verifier.system import atomic, paths
from verifier.tables import joining, own_likelihood
from verifier.tables.manifests import read_manifest
from verifier.tables.parts import open_part, part_digest, parts_of
from verifier.tables.provenance import reads_stored_tokens, refuse_stale, trained_on
from verifier.tables.reading import read_table
from verifier.tables.results import LABELS, PROBLEMS, SAMPLES, SCORES
from verifier.tables.stored_splits import reported
from verifier.text.split import Split

AT_ONCE = 1 << 16  # samples that are held at a time; for each such lot the parts are read once
_LINES = 1 << 10  # rows that are Python objects at a time
_KEY = ("problem_id", "sample_id")
_COLUMNS = {
    "samples": ("solution", "tokens", "generator", *own_likelihood.COLUMNS),
    "labels": ("answer", "correct"),
    "scores": ("score", "token_scores", "verifier"),
}
_LONG = ("tokens", "token_scores")


def write_scored(root: pathlib.Path, file: pathlib.Path, token_scores: bool = False) -> int:
    """Writes all reported samples of a workdir with their problems, verdicts and scores.

    Reported are the held-out, test, greedy and further test samples.

    Args:
        root: the workdir.
        file: takes its name only once it is whole.
        token_scores: the fields `tokens` and `token_scores` too.

    Returns:
        The number of samples.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: no split is scored, or tables do not belong together.
        WriteError: the file system refuses; `file` is as it was.
    """
    root, file = paths.to_path(root), paths.to_path(file)
    splits = [split for split in reported(root) if SAMPLES.folder(root, split).is_dir()]
    if not any(SCORES.folder(root, split).is_dir() for split in splits):
        raise TablesError(
            f"{SCORES.folder(root)}: no split is scored; expected a workdir that has come "
            f"through the stage {SCORES.stage!r}"
        )
    asked_for = ["problem_id", "question", "answer"]
    problems = read_table(PROBLEMS.folder(root), PROBLEMS.name, asked_for)
    verifier = read_manifest(root / "verifier") or {}
    long = () if not token_scores else _LONG if reads_stored_tokens(root) else ("token_scores",)
    count = 0
    with atomic.whole_file(file) as out:
        for split in splits:
            refuse_stale(root, split)
            folders = {each.name: each.folder(root, split) for each in (SAMPLES, LABELS, SCORES)}
            fixed = (read_manifest(folders["labels"]) or {}).get("fixed_labels", ())
            asked = {
                row["problem_id"]: row
                for row in corrections.with_answers(problems, fixed).to_pylist()
            }
            for rows in _lots(folders, long):
                for line in _lines(rows, asked, split, verifier):
                    out.write(line)
                    count += 1
    return count


def _lots(folders: Mapping[str, pathlib.Path], long: Sequence[str]) -> Iterator[pa.Table]:
    """The split's rows in lots of whole problems, by problem and sample.

    What is not scored has null scores.
    """
    there = {
        name: folder for name, folder in folders.items() if name != "scores" or folder.is_dir()
    }
    # This checks whole files, too.
    keys = {name: read_table(folder, name, list(_KEY)) for name, folder in there.items()}
    for name in list(there)[1:]:
        # Samples beyond the verifier's context have no score.
        unread = (read_manifest(there[name]) or {}).get("too_long", 0)
        if len(keys[name]) + unread != len(keys["samples"]):
            raise _other_rows(there, name)
    for problems in _cut(keys["samples"]):
        rows = {
            name: _sorted(folder, _wanted(name, long), problems) for name, folder in there.items()
        }
        joined = _with_likelihood(rows["samples"])
        for name in list(there)[1:]:
            row = joining.matching_rows(joined, rows[name], name)
            if np.sum(row >= 0) != len(rows[name]):
                raise _other_rows(there, name)
            of_samples = rows[name].take(pa.array(row, mask=row < 0))
            for column in _wanted(name, long):
                joined = joined.append_column(column, of_samples[column])
        yield joined


def _with_likelihood(samples: pa.Table) -> pa.Table:
    """Samples with what their log-probabilities sum to in place of these."""
    sums = own_likelihood.summarised(*(samples[name] for name in own_likelihood.COLUMNS))
    samples = samples.drop_columns(list(own_likelihood.COLUMNS))
    for name, column in sums.items():
        samples = samples.append_column(name, column)
    return samples


def _other_rows(there: Mapping[str, pathlib.Path], name: str) -> TablesError:
    return TablesError(
        f"{there[name]} has not the rows of {there['samples']}; remove it and run the stage "
        "that makes it again"
    )


def _wanted(name: str, long: Sequence[str]) -> list[str]:
    return [column for column in _COLUMNS[name] if column in long or column not in _LONG]


def _cut(keys: pa.Table) -> Iterator[list[str]]:
    """Problems in lots of AT_ONCE samples at most, or of one problem."""
    counts = pc.value_counts(keys["problem_id"]).to_pylist()
    lot: list[str] = []
    held = 0
    for each in sorted(counts, key=lambda count: count["values"]):
        if lot and held + each["counts"] > AT_ONCE:
            yield lot
            lot, held = [], 0
        lot.append(each["values"])
        held += each["counts"]
    if lot:
        yield lot


def _sorted(folder: pathlib.Path, columns: Sequence[str], problems: Sequence[str]) -> pa.Table:
    wanted = pa.array(problems, pa.string())
    parts = []
    for part in parts_of(folder):
        content = part.read_bytes()
        part_digest(part, content)
        read = open_part(part, content).read([*_KEY, *columns])
        parts.append(read.filter(pc.is_in(read["problem_id"], wanted)))
    return pa.concat_tables(parts).sort_by([(key, "ascending") for key in _KEY])


def _lines(
    rows: pa.Table,
    asked: Mapping[str, Mapping[str, Any]],
    split: Split,
    verifier: Mapping[str, Any],
) -> Iterator[bytes]:
    """The objects; `verifier`: the manifest of the one that scored them, as far as is known."""
    for batch in rows.to_batches(_LINES):
        for row in batch.to_pylist():
            problem = asked.get(row["problem_id"])
            if problem is None:
                raise TablesError(
                    f"problem {row['problem_id']} of the {split} samples is not in the "
                    "problems; the tables are of two runs"
                )
            line = {
                "question": problem["question"],
                "solution": row["solution"],
                "answer": problem["answer"],
                "extracted": row["answer"],
                "correct": row["correct"],
                "score": _finite(row.get("score")),
                **{name: _finite(row[name]) for name in own_likelihood.RANKS.values()},
                **{key: row[key] for key in _KEY},
                "split": str(split),
                "generator": row["generator"],
                "verifier": row.get("verifier"),
                "trained_on": trained_on(verifier)
                if row.get("verifier", "") == verifier.get("id")
                else None,
            }
            line |= {"tokens": row["tokens"]} if "tokens" in row else {}
            line |= (
                {"token_scores": row["token_scores"] and list(map(_finite, row["token_scores"]))}
                if "token_scores" in row
                else {}
            )
            yield json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if value is not None and math.isfinite(value) else None
