"""Samples by path, of whatever kind, with the problems and scores that belong to them: graded."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import pyarrow as pa

from verifier.config import LabelConfig
from verifier.errors import TablesError
from verifier.grading import corrections, graders
from verifier.ingest import external, layouts
from verifier.system import log, paths
from verifier.tables import assembly, provenance, stored_splits
from verifier.tables.manifests import MANIFEST, UNFINISHED
from verifier.tables.reading import read_table
from verifier.tables.results import (
    PROBLEMS,
    SAMPLES,
    SCORES,
    VERIFIER,
    split_folder,
    split_of,
    splits_in,
)
from verifier.tables.split_rows import Kept, SplitRows
from verifier.text.split import TEST, Split


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where samples, problems, scores and the tokenizer are, and how others' files are read.

    None: beside the samples, or in their file.
    """

    samples: pathlib.Path
    problems: pathlib.Path | None = None
    scores: pathlib.Path | None = None
    tokenizer: pathlib.Path | None = None
    how: external.Reading = external.AS_FOUND


def read(
    sources: Sources, label: LabelConfig, allow_missing: bool = False
) -> dict[Split, SplitRows]:
    """Reads and grades samples, whatever kind of path they come from.

    Args:
        sources: the paths.
        label: who grades every solution, and by which gold answers.
        allow_missing: leave out samples without a score, or with NaN or inf, and count them.

    Returns:
        Rows by split: of this project's tables heldout, test and test_greedy; of other files all
        splits they have.

    Raises:
        UserError: of the store, the tables or the grader; the message names file and row.
    """
    graders.check_grader(label.grader)
    layouts.check_layout(sources.how.layout)
    path, is_stored = sources.samples, _is_stored(sources.samples)
    if is_stored:
        samples, problems, scores = _stored(path, label.grader)
    else:
        samples, problems, scores = external.read_samples_file(
            path, label.grader, allow_missing, sources.how
        )
    asked = sources.problems or (_beside(path) / "problems" if is_stored else None)
    if sources.problems:
        problems = _problems(sources.problems, sources.how)
    if sources.scores:
        scores = _scores(sources.scores, samples, allow_missing, sources.how)
    if problems is None:
        raise TablesError(
            f"{path}: no field `answer` in it; the right answers must be there (or named: "
            "--fields=answer=NAME), or in --problems=PATH"
        )
    gold = dict(
        zip(problems["problem_id"].to_pylist(), problems["answer"].to_pylist(), strict=True)
    )
    fixed = corrections.corrected(gold)[1] if label.fix_labels else []
    problems = corrections.with_answers(problems, fixed)
    graded = functools.partial(
        _graded, problems=problems, label=label, fixed=fixed, allow_missing=allow_missing
    )
    splits = {name: graded(name, rows, scores.get(name)) for name, rows in samples.items()}
    return {
        name: dataclasses.replace(rows, left_out=_left_out(asked, name, rows))
        for name, rows in splits.items()
    }


def _graded(
    name: Split,
    samples: Kept,
    scores: Kept | None,
    problems: pa.Table,
    label: LabelConfig,
    fixed: Sequence[Mapping[str, str]],
    allow_missing: bool,
) -> SplitRows:
    """One split, graded anew; what was corrected in it and what could not be graded is said."""
    split = assembly.assemble(
        samples, problems, label.grader, scores, allow_missing, label.grader_seconds
    )
    asked = set(split.candidates.problem_id_P.tolist())
    own = [each for each in fixed if each["problem_id"] in asked]
    for each in own:
        log.say(
            f"{name}: problem {each['problem_id']}: {each['new']}, not {each['old']} "
            f"({each['reason']})"
        )
    if split.not_graded:
        log.say(f"{name}: {graders.given_up(split.not_graded, label.grader, label.grader_seconds)}")
    return dataclasses.replace(split, fixed_labels=own)


def _left_out(problems: pathlib.Path | None, split: Split, rows: SplitRows) -> int | None:
    """How many problems of a split have no samples, as `split_rows.read_workdir` counts.

    None where the problems know no such split.
    """
    if problems is None:
        return None
    name = split_folder(split.problems)
    tables = (PROBLEMS.folder(problems), problems / PROBLEMS.name, problems)
    tried = (table / name for table in tables)
    folder = next((folder for folder in tried if folder.is_dir()), None)
    if folder is None:
        return None
    known = read_table(folder, "problems", ["problem_id"])
    return stored_splits.left_out(split, len(known), rows.candidates)


def _stored(path: pathlib.Path, grader: str) -> external.SamplesFile:
    """Samples of a workdir or table folder by split, with the problems and scores beside them."""
    table, beside = _table(path), _beside(path)
    splits = stored_splits.reported_in(table)
    folders = {split: table / split_folder(split) for split in splits}
    folders = {split: folder for split, folder in folders.items() if folder.is_dir()}
    if one := split_of(table):
        folders = {one: table}
    elif not folders and any(table.glob("part-*.parquet")):
        folders = {TEST: table}
    if not folders:
        usual = ", ".join(map(str, stored_splits.USUAL))
        raise TablesError(
            f"{table}: no samples of {usual}, nor part-*.parquet; expected a table of samples"
        )
    problems = beside / PROBLEMS.name
    samples, scores = {}, {}
    for split, folder in folders.items():
        samples[split] = stored_splits.read_samples(folder, grader)
        scored = beside / SCORES.name / folder.name
        if scored.is_dir():
            sources = {SAMPLES.name: folder, VERIFIER.name: VERIFIER.folder(beside.parent)}
            provenance.refuse_other_sources(scored, sources, SCORES.stage)
            scores[split] = stored_splits.read_scores(scored)
    return external.SamplesFile(samples, _problems(problems) if problems.is_dir() else None, scores)


def _table(path: pathlib.Path) -> pathlib.Path:
    return SAMPLES.folder(path) if (path / "tables").is_dir() else path


def _beside(path: pathlib.Path) -> pathlib.Path:
    """The folder of the tables that belong to these samples, by the path that was asked for."""
    table = paths.absolute(_table(path))
    return table.parent.parent if split_of(table) else table.parent


def _is_stored(path: pathlib.Path) -> bool:
    """Whether a path is a workdir, or a table folder as this project writes them."""
    if not path.is_dir():
        return False
    if (
        (path / "tables").is_dir()
        or split_of(path)
        or splits_in(path)
        or any(splits_in(each) for each in path.iterdir() if each.is_dir())
    ):
        return True
    whole = any((path / name).is_file() for name in (MANIFEST, UNFINISHED))
    return whole or (any(path.glob("part-*.parquet")) and (path.parent / "problems").is_dir())


def _problems(path: pathlib.Path, how: external.Reading = external.AS_FOUND) -> pa.Table:
    if _is_stored(path):
        return read_table(path, "problems", ["problem_id", "question", "answer"])
    return external.read_problems_file(path, how)


def _scores(
    path: pathlib.Path, samples: Mapping[Split, Kept], allow_missing: bool, how: external.Reading
) -> dict[Split, Kept]:
    """Scores by split; a table without splits serves all of them."""
    if not _is_stored(path):
        read = external.read_scores_file(path, allow_missing, how)
        by_split = {split: kept for split, kept in read.items() if split is not None}
        return by_split or dict.fromkeys(samples, read[None])
    root = SCORES.folder(path) if (path / "tables").is_dir() else path
    splits = splits_in(root)
    folders = {split: root / split_folder(split) if splits else root for split in samples}
    there = {split: folder for split, folder in folders.items() if folder.is_dir()}
    for split, folder in there.items():
        drawn = {SAMPLES.name: samples[split].scan.path}
        provenance.refuse_other_sources(folder, drawn, SCORES.stage)
    kept = functools.cache(stored_splits.read_scores)
    return {split: kept(folder) for split, folder in there.items()}
