"""How likely its generator holds a solution: what is kept of stored log-probabilities, and how it
ranks samples, for which no verifier is needed.

Sums of two kinds, in nats: the calculator's tokens are not of the generator's choosing and yet
tell, for a generator of right solutions is surprised by what a wrong one comes to. Short solutions
have larger sums; one that was cut off lacks the chance of its end, and has none.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.tables import token_values

# Columns of samples that the sums are made of.
COLUMNS = ("logprobs", "forced", "finish")
# Figures by the column that ranks for them: of all tokens, and without the calculator's.
RANKS = {"likeliest": "likelihood", "likeliest_own": "likelihood_own"}


def summarised(
    logprobs: pa.ChunkedArray, forced: pa.ChunkedArray, finish: pa.ChunkedArray
) -> dict[str, pa.Array]:
    """The columns of RANKS, float64, in place of lists; NaN of a solution without end or tokens."""
    logprob_N, length_R = token_values.ragged(logprobs)
    forced_N, _ = token_values.ragged(forced)
    cut_off_R = pc.equal(finish, "length").to_numpy()
    kinds = logprob_N, np.where(forced_N, 0, logprob_N)
    sums = (token_values.over_rows(np.add, each_N, length_R, np.float64) for each_N in kinds)
    return {
        column: pa.array(np.where(cut_off_R, np.nan, sum_R))
        for column, sum_R in zip(RANKS.values(), sums, strict=True)
    }


def ranks(rows: pa.Table) -> dict[str, np.ndarray]:
    """By figure, [rows] finite numbers that rank them; nothing of a kind that no row has.

    What has no likelihood comes behind all that have one. There is no `likeliest_own` where no
    calculator wrote anything.
    """
    found = {}
    for figure, likelihood_R in _told(rows).items():
        known_R = np.isfinite(likelihood_R)
        found[figure] = np.where(known_R, likelihood_R, likelihood_R[known_R].min() - 1)
    whole_R, own_R = (found.get(figure) for figure in RANKS)
    if whole_R is not None and own_R is not None and np.array_equal(whole_R, own_R):
        del found["likeliest_own"]
    return found


def unknown(rows: pa.Table) -> int:
    """How many rows have no likelihood where others have one."""
    likelihood_R = _told(rows).get("likeliest")
    return 0 if likelihood_R is None else int((~np.isfinite(likelihood_R)).sum())


def _told(rows: pa.Table) -> dict[str, np.ndarray]:
    """By figure, [rows] likelihoods as they are; without a kind that no row has."""
    there = {
        figure: rows[column].to_numpy()
        for figure, column in RANKS.items()
        if column in rows.column_names
    }
    return {figure: each_R for figure, each_R in there.items() if np.isfinite(each_R).any()}
