"""The splits of a workdir, read from their tables."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from verifier.errors import TablesError
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.metrics import GREEDY
from verifier.grading import corrections, graders
from verifier.system import paths
from verifier.tables import columns, store
from verifier.tables.assembly import assemble
from verifier.tables.provenance import refuse_stale
from verifier.tables.scanning import Scan, scan_table
from verifier.tables.split_rows import Kept, SplitRows

# What a report reads of a workdir; training samples serve training.
SPLITS = ("heldout", "test", "test_greedy")
_OF_PROBLEMS = ("problem_id", "question", "answer")
_KEY = ("problem_id", "sample_id")
_FACTS = ("generator",)


def read_workdir(
    root: pathlib.Path,
    splits: Sequence[str] | None = None,
    grader: str | None = None,
    allow_missing: bool = False,
) -> dict[str, SplitRows]:
    """The splits of a workdir that are ready to be reported on.

    Args:
        root: a workdir, with `tables/samples/split=*` and the others beside it.
        splits: which splits; None takes those of `reported` that have samples.
        grader: judges all solutions anew; None takes the stored labels.
        allow_missing: as in `assemble`.

    Returns:
        The splits that have samples, in the order asked for; those without a scores table have no
        scores.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: tables that do not belong together, such as labels or scores of other samples.
    """
    tables = paths.to_path(root) / "tables"
    there = [
        split
        for split in (splits or reported(tables / "samples"))
        if (tables / "samples" / f"split={split}").is_dir()
    ]
    if not there:
        raise TablesError(
            f"{tables / 'samples'}: no samples of the splits {', '.join(splits or SPLITS)}; "
            "run the stages up to sample first"
        )
    return {
        split: _read_split(paths.to_path(root), split, grader, allow_missing) for split in there
    }


def _read_split(
    root: pathlib.Path, split: str, grader: str | None, allow_missing: bool
) -> SplitRows:
    """One split of a workdir, none of whose tables is stale."""
    tables = root / "tables"
    refuse_stale(root, split, ["samples", "scores"] if grader else ["samples", "labels", "scores"])
    problems = store.read_table(
        tables / "problems" / f"split={split.removesuffix(GREEDY)}", "problems", _OF_PROBLEMS
    )
    samples, labels, scored = (
        tables / table / f"split={split}" for table in ("samples", "labels", "scores")
    )
    of_labels = {} if grader else store.read_manifest(labels) or {}
    fixed = of_labels.get("fixed_labels", ())
    judged_by = corrections.with_answers(problems, fixed)
    verdicts = grader or read_labels(labels)
    scores = read_scores(scored) if scored.is_dir() else None
    rows = assemble(read_samples(samples, grader), judged_by, verdicts, scores, allow_missing)
    return dataclasses.replace(
        rows,
        left_out=left_out(split, len(problems), rows.candidates),
        not_graded=of_labels.get("not_graded", rows.not_graded),
        fixed_labels=fixed,
    )


def left_out(split: str, problems: int, candidates: Candidates) -> int:
    """How many of a split's problems have no samples.

    A greedy split, which has the problems of another, counts none.
    """
    return 0 if split.endswith(GREEDY) else max(problems - len(candidates.problem_id_P), 0)


def reported(samples: pathlib.Path) -> list[str]:
    """The splits of a workdir's samples that a report reads: SPLITS, then test sets by name."""
    there = sorted(
        folder.name.removeprefix("split=")
        for folder in samples.glob("split=test_*")
        if folder.is_dir()
    )
    return [*SPLITS, *(split for split in there if split not in SPLITS)]


def read_samples(path: pathlib.Path, grader: str | None = None) -> Kept:
    """A split of stored samples, read piece by piece; with answers where a grader is named."""
    if grader:
        graders.check_grader(grader)
    # Other graders are asked when the right answers are known.
    by_ending = grader if grader in graders.BY_ENDING else None
    scan = _scan(path, "samples")
    return Kept(
        columns.keep(scan, [*_KEY, *(name for name in _FACTS if name in scan.names)], by_ending),
        scan,
    )


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
        (store.read_manifest(path) or {}).get("too_long", 0),
    )


def _scan(path: pathlib.Path, table: str) -> Scan:
    scan = scan_table(path, table)
    if not scan.rows:
        raise TablesError(
            f"{path} is empty: expected at least one row; remove it and run the stage that "
            "makes it again"
        )
    return scan
