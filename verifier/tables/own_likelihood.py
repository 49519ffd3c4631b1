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
    there_R = length_R > 0
    start = (np.cumsum(length_R) - length_R)[there_R]
    cut_off_R = pc.equal(finish, "length").to_numpy()
    made = {}
    for column, each_N in zip(
        RANKS.values(), (logprob_N, np.where(forced_N, 0, logprob_N)), strict=True
    ):
        sum_R = token_values.spread(np.add.reduceat(each_N, start, dtype=np.float64), there_R)
        made[column] = pa.array(np.where(cut_off_R, np.nan, sum_R))
    return made


def ranks(rows: pa.Table) -> dict[str, np.ndarray]:
    """By figure, [rows] finite numbers that rank them; nothing of a kind that no row has.

    What has no likelihood comes behind all that have one. There is no `likeliest_own` where no
    calculator wrote anything.
    """
    found = {}
    for figure, column in RANKS.items():
        if column in rows.column_names:
            likelihood_R = rows[column].to_numpy()
            known_R = np.isfinite(likelihood_R)
            if known_R.any():
                last = likelihood_R[known_R].min() - 1
                found[figure] = np.where(known_R, likelihood_R, last)
    if len(found) == len(RANKS) and np.array_equal(*found.values()):
        del found["likeliest_own"]
    return found


def unknown(rows: pa.Table) -> int:
    """How many rows have no likelihood where others have one."""
    column = RANKS["likeliest"]
    if column not in rows.column_names:
        return 0
    known_R = np.isfinite(rows[column].to_numpy())
    return int((~known_R).sum()) if known_R.any() else 0
