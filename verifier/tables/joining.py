"""Which rows of two tables belong together, and samples that lack a row or a number.

Such samples are refused by name, or left out and counted.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from verifier.errors import TablesError
from verifier.evaluate.candidates import not_finite
from verifier.grading import extraction
from verifier.tables import token_values

ALLOW = (
    "leave such samples out and count them: --allow-missing (rerank), "
    "report.allow_missing=true (launch)"
)

TOO_LONG = "samples_too_long_for_the_verifier"


def matching_rows(samples: pa.Table, other: pa.Table, what: str) -> np.ndarray:
    """Row of `other` that belongs to each sample; -1 where there is none.

    Raises:
        TablesError: `other` has two rows of one sample.
    """
    wanted, ids = extraction.codes(samples["problem_id"])
    given, others = extraction.codes(other["problem_id"])
    known = {name: number for number, name in enumerate(ids)}
    numbers = np.array(
        [known.get(name, len(ids) + row) for row, name in enumerate(others)], np.int64
    )
    wanted = (wanted << 32) + samples["sample_id"].to_numpy().astype(np.int64)
    given = (numbers[given] << 32) + other["sample_id"].to_numpy().astype(np.int64)
    # As one run writes them. A sample that is there twice is refused by the candidates.
    if len(wanted) == len(given) and np.array_equal(wanted, given):
        return np.arange(len(wanted))
    if not len(given):
        return np.full(len(wanted), -1)
    order = np.argsort(given, kind="stable")
    twice = np.nonzero(np.diff(given[order]) == 0)[0]
    if len(twice):
        row = int(order[twice[0]])
        raise TablesError(
            f"the {what} hold problem {other['problem_id'][row]}, sample "
            f"{other['sample_id'][row]} twice; expected once"
        )
    row = order[np.minimum(np.searchsorted(given[order], wanted), len(order) - 1)]
    return np.where(given[row] == wanted, row, -1)


def joined(samples: pa.Table, other: pa.Table, what: str) -> pa.Table:
    """The rows of `other` in the order of the samples.

    Raises:
        TablesError: a sample has no row, or two.
    """
    row = matching_rows(samples, other, what)
    lost = np.nonzero(row < 0)[0]
    if len(lost):
        raise TablesError(
            f"{len(lost):,} of {len(samples):,} samples have no row in the {what}, such as "
            f"{_named(samples, lost)}; make the {what} of these samples, leave the {what} out, "
            f"or {ALLOW}"
        )
    if len(row) == len(other) and np.array_equal(row, np.arange(len(row))):
        return other
    return other.take(row)


def refuse_not_finite(samples: pa.Table, scores: pa.Table) -> None:
    """Refuses scores that are NaN or infinite or have such among their token values.

    Row by row the scores are those of `samples`.

    Raises:
        TablesError: with how many and the first of them.
    """
    number_R = _numbers(scores)
    bad = np.nonzero(~np.isfinite(number_R))[0]
    if len(bad):
        what = not_finite(number_R[bad])
        raise TablesError(
            f"{len(bad):,} of {len(samples):,} scores are {what} or have {what} among their "
            f"token values, such as of {_named(samples, bad)}: score those samples again, or "
            f"{ALLOW}"
        )


def without_too_long(
    samples: pa.Table, scores: pa.Table, too_long: int
) -> tuple[pa.Table, dict[str, int]]:
    """The samples without those that the verifier could not read, where just these have no score.

    Args:
        samples: with `problem_id` and `sample_id`.
        scores: of these samples.
        too_long: how many the verifier left out as beyond its context, by the scores' manifest.

    Returns:
        The others left out, and how many, as `samples_too_long_for_the_verifier`; where another
        number lacks a score, all samples.
    """
    scored = matching_rows(samples, scores, "scores") >= 0
    if np.sum(~scored) != too_long:
        return samples, {}
    return samples.filter(pa.array(scored)), {TOO_LONG: too_long}


def without_missing(
    samples: pa.Table, labels: pa.Table | None, scores: pa.Table | None
) -> tuple[pa.Table, dict[str, int]]:
    """The samples that have all they need.

    Args:
        samples: with `problem_id` and `sample_id`.
        labels: None where solutions are graded anew.
        scores: None where nothing was scored.

    Returns:
        The others left out, and how many of them have no label, no score, or a score that is NaN or
        infinite (`samples_with_nan`), each counted by the first that it lacks.

    Raises:
        TablesError: a row is there twice, or no sample is left.
    """
    kept = np.ones(len(samples), bool)
    counts: dict[str, int] = {}

    def drop(lacking: np.ndarray, why: str) -> None:
        counts[why] = int(np.sum(kept & lacking))
        kept[lacking] = False

    if labels is not None:
        drop(matching_rows(samples, labels, "labels") < 0, "samples_without_label")
    if scores is not None:
        row = matching_rows(samples, scores, "scores")
        drop(row < 0, "samples_without_score")
        drop((row >= 0) & ~np.isfinite(np.append(_numbers(scores), 0.0))[row], "samples_with_nan")
    if not kept.any():
        why = ", ".join(
            f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count
        )
        raise TablesError(
            f"no sample is left of {len(samples):,} ({why}); expected some with a label and a score"
        )
    return samples.filter(pa.array(kept)), counts


def _numbers(scores: pa.Table) -> np.ndarray:
    """[rows] each row's score, NaN where it is missing.

    Where one of its token values is NaN or infinite, so is this.
    """
    score_R = scores["score"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return score_R + token_values.not_finite(scores)


def _named(samples: pa.Table, rows: np.ndarray) -> str:
    """The first few of some samples."""
    return "; ".join(
        f"problem {samples['problem_id'][row]}, sample {samples['sample_id'][row]}"
        for row in rows[:3].tolist()
    )
