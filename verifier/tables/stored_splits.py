"""The splits of a workdir, read from their tables."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from verifier.errors import TablesError
from verifier.evaluate.candidates import Candidates
from verifier.grading import corrections, graders
from verifier.system import paths
from verifier.tables import columns, own_likelihood
from verifier.tables.assembly import assemble
from verifier.tables.manifests import read_manifest
from verifier.tables.provenance import refuse_stale
from verifier.tables.reading import read_table
from verifier.tables.results import LABELS, PROBLEMS, SAMPLES, SCORES, Table, splits_in
from verifier.tables.scanning import Scan, scan_table
from verifier.tables.split_rows import Kept, SplitRows
from verifier.text.split import HELDOUT, TEST, Split

# What every run reports on, first.
USUAL = (HELDOUT, TEST, dataclasses.replace(TEST, greedy=True))
_OF_PROBLEMS = ("problem_id", "question", "answer")
_KEY = ("problem_id", "sample_id")
_FACTS = ("generator",)


def read_workdir(
    root: pathlib.Path,
    splits: Sequence[Split] | None = None,
    grader: str | None = None,
    allow_missing: bool = False,
    scores: Table = SCORES,
) -> dict[Split, SplitRows]:
    """The splits of a workdir that are ready to be reported on.

    Args:
        root: a workdir, with `tables/samples/split=*` and the others beside it.
        splits: which splits; None takes those of `reported` that have samples.
        grader: grades all solutions anew; None takes the stored labels.
        allow_missing: as in `assemble`.
        scores: the table of them; any with the columns of SCORES.

    Returns:
        The splits that have samples, in the order asked for; those without a scores table have no
        scores.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: tables that do not belong together, such as labels or scores of other samples.
    """
    root = paths.to_path(root)
    there = [split for split in splits or reported(root) if SAMPLES.folder(root, split).is_dir()]
    if not there:
        names = ", ".join(map(str, splits or USUAL))
        raise TablesError(
            f"{SAMPLES.folder(root)}: no samples of the splits {names}; run the stages up to "
            f"{SAMPLES.stage} first"
        )
    return {split: _read_split(root, split, grader, allow_missing, scores) for split in there}


def _read_split(
    root: pathlib.Path, split: Split, grader: str | None, allow_missing: bool, ranked_by: Table
) -> SplitRows:
    """One split of a workdir, none of whose tables is stale."""
    refuse_stale(root, split, [SAMPLES, ranked_by] if grader else [SAMPLES, LABELS, ranked_by])
    asked = PROBLEMS.folder(root, split.problems)
    problems = read_table(asked, PROBLEMS.name, _OF_PROBLEMS)
    samples, labels, scored = (each.folder(root, split) for each in (SAMPLES, LABELS, ranked_by))
    of_labels = {} if grader else read_manifest(labels) or {}
    of_samples = read_manifest(samples) or {}
    fixed = of_labels.get("fixed_labels", ())
    graded_by = corrections.with_answers(problems, fixed)
    verdicts = grader or read_labels(labels)
    scores = read_scores(scored) if scored.is_dir() else None
    rows = assemble(read_samples(samples, grader), graded_by, verdicts, scores, allow_missing)
    return dataclasses.replace(
        rows,
        left_out=left_out(split, len(problems), rows.candidates),
        not_graded=of_labels.get("not_graded", rows.not_graded),
        fixed_labels=fixed,
        tokens=of_samples.get("tokens", 0),
        prefixes=of_samples.get("prefixes", 0),
    )


def left_out(split: Split, problems: int, candidates: Candidates) -> int:
    """How many of a split's problems have no samples.

    A greedy split, which has the problems of another, counts none.
    """
    return 0 if split.greedy else max(problems - len(candidates.problem_id_P), 0)


def reported(root: pathlib.Path) -> list[Split]:
    """The splits that a report reads of a workdir: the usual ones, then test sets by name.

    Training samples serve training.
    """
    return reported_in(SAMPLES.folder(root))


def reported_in(samples: pathlib.Path) -> list[Split]:
    """As `reported`, of a table of samples wherever it lies."""
    tests = [split for split in splits_in(samples) if split.of == TEST.of]
    return [*USUAL, *(split for split in tests if split not in USUAL)]


def read_samples(path: pathlib.Path, grader: str | None = None) -> Kept:
    """A split of stored samples, read piece by piece; with answers where a grader is named."""
    if grader:
        graders.check_grader(grader)
    # Other graders are asked when the right answers are known.
    by_ending = grader if grader in graders.BY_ENDING else None
    scan = _scan(path, "samples")
    there = [name for name in _FACTS if name in scan.names]
    if set(own_likelihood.COLUMNS) <= set(scan.names):
        there += own_likelihood.COLUMNS
    return Kept(columns.keep(scan, [*_KEY, *there], by_ending), scan)


def read_labels(path: pathlib.Path) -> Kept:
    """A split of stored labels."""
    scan = _scan(path, "labels")
    return Kept(columns.keep(scan, [*_KEY, "answer", "correct", "grader"]), scan)


def read_scores(path: pathlib.Path) -> Kept:
    """A split of stored scores and what is kept of their token values."""
    scan = _scan(path, "scores")
    given = [name for name in ("verifier", "token_scores") if name in scan.names]
    return Kept(
        columns.keep(scan, [*_KEY, "score", *given]),
        scan,
        (read_manifest(path) or {}).get("too_long", 0),
    )


def _scan(path: pathlib.Path, table: str) -> Scan:
    scan = scan_table(path, table)
    if not scan.rows:
        raise TablesError(
            f"{path} is empty: expected at least one row; remove it and run the stage that "
            "makes it again"
        )
    return scan
