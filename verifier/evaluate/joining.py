"""Which rows of two tables belong together, and samples that lack a row or a number: refused by name, or left out and counted."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.config import UserError

ALLOW = "leave such samples out and count them: --allow-missing (rerank), report.allow_missing=true (launch)"


class TablesError(UserError):
    """Tables that do not belong together; the message names the table and the rows."""


def places(samples: pa.Table, other: pa.Table, what: str) -> np.ndarray:
    """Row of `other` that belongs to each sample; -1 where there is none.

    Raises:
        TablesError: `other` has two rows of one sample.
    """
    ids = pa.chunked_array([*samples["problem_id"].chunks, *other["problem_id"].chunks], pa.string()).combine_chunks().dictionary_encode()
    code = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64) << 32
    code += np.concatenate([samples["sample_id"].to_numpy(), other["sample_id"].to_numpy()]).astype(np.int64)
    wanted, given = code[: len(samples)], code[len(samples) :]
    if not len(given):
        return np.full(len(wanted), -1)
    order = np.argsort(given, kind="stable")
    twice = np.nonzero(np.diff(given[order]) == 0)[0]
    if len(twice):
        row = int(order[twice[0]])
        raise TablesError(f"the {what} hold problem {other['problem_id'][row]}, sample {other['sample_id'][row]} twice; expected once")
    place = order[np.minimum(np.searchsorted(given[order], wanted), len(order) - 1)]
    return np.where(given[place] == wanted, place, -1)


def joined(samples: pa.Table, other: pa.Table, what: str) -> pa.Table:
    """The rows of `other` in the order of the samples.

    Raises:
        TablesError: a sample has no row, or two.
    """
    place = places(samples, other, what)
    lost = np.nonzero(place < 0)[0]
    if len(lost):
        raise TablesError(
            f"{len(lost):,} of {len(samples):,} samples have no row in the {what}, such as {_named(samples, lost)}; make the {what} of "
            f"these samples, leave the {what} out, or {ALLOW}"
        )
    return other.take(place)


def refuse_nan(samples: pa.Table, scores: pa.Table) -> None:
    """Refuses scores of `samples`, row by row the same, that are NaN or have NaN among their token values.

    Raises:
        TablesError: with how many and the first of them.
    """
    bad = np.nonzero(_has_nan(scores))[0]
    if len(bad):
        raise TablesError(
            f"{len(bad):,} of {len(samples):,} scores are NaN or have NaN among their token values, such as of {_named(samples, bad)}: "
            f"score those samples again, or {ALLOW}"
        )


def without_missing(samples: pa.Table, labels: pa.Table | None, scores: pa.Table | None) -> tuple[pa.Table, dict[str, int]]:
    """The samples that have all they need.

    Args:
        samples: with `problem_id` and `sample_id`.
        labels: None where solutions are judged anew.
        scores: None where nothing was scored.

    Returns:
        The others left out, and how many of them have no label, no score, or a score that is NaN, each counted by the first that it lacks.

    Raises:
        TablesError: a row is there twice, or no sample is left.
    """
    kept = np.ones(len(samples), bool)
    counts: dict[str, int] = {}

    def drop(lacking: np.ndarray, why: str) -> None:
        counts[why] = int(np.sum(kept & lacking))
        kept[lacking] = False

    if labels is not None:
        drop(places(samples, labels, "labels") < 0, "samples_without_label")
    if scores is not None:
        place = places(samples, scores, "scores")
        drop(place < 0, "samples_without_score")
        drop((place >= 0) & np.append(_has_nan(scores), False)[place], "samples_with_nan")
    if not kept.any():
        why = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
        raise TablesError(f"no sample is left of {len(samples):,} ({why}); expected some with a label and a score")
    return samples.filter(pa.array(kept)), counts


def _has_nan(scores: pa.Table) -> np.ndarray:
    """Whether a row's score is NaN or missing, or one of its token values is."""
    bad = np.isnan(scores["score"].cast(pa.float64()).to_numpy(zero_copy_only=False))
    if "token_scores" in scores.column_names:
        owner = np.repeat(np.arange(len(scores)), pc.fill_null(pc.list_value_length(scores["token_scores"]), 0).to_numpy())
        value = pc.list_flatten(scores["token_scores"]).cast(pa.float64()).to_numpy(zero_copy_only=False)
        bad[owner[np.isnan(value)]] = True
    return bad


def _named(samples: pa.Table, rows: np.ndarray) -> str:
    """The first few of some samples."""
    return "; ".join(f"problem {samples['problem_id'][row]}, sample {samples['sample_id'][row]}" for row in rows[:3].tolist())
