"""What is kept of a solution's stored log-probabilities: how likely its generator holds it.

Sums of two kinds, for the calculator's tokens are not of the generator's choosing and yet tell: a
generator of right solutions is surprised by what a wrong one comes to.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from verifier.tables import token_values

# Columns of samples that the sums are made of.
COLUMNS = ("logprobs", "forced")
# Figures by the column that ranks for them: of all tokens, and without the calculator's.
RANKS = {"likeliest": "likelihood", "likeliest_own": "likelihood_own"}


def summarised(logprobs: pa.ChunkedArray, forced: pa.ChunkedArray) -> dict[str, pa.Array]:
    """The columns that are kept in place of two lists a row: sums in nats, float64."""
    logprob_N, length_R = token_values.ragged(logprobs)
    forced_N, _ = token_values.ragged(forced)
    there_R = length_R > 0
    start = (np.cumsum(length_R) - length_R)[there_R]
    kinds = zip(RANKS.values(), (logprob_N, np.where(forced_N, 0, logprob_N)), strict=True)
    return {
        column: pa.array(
            token_values.spread(np.add.reduceat(each_N, start, dtype=np.float64), there_R)
        )
        for column, each_N in kinds
    }


def ranks(rows: pa.Table) -> dict[str, np.ndarray]:
    """By figure, [rows] what ranks them by their generator's own likelihood.

    Nothing where rows have none, or one that is no finite number; without `likeliest_own` where no
    calculator wrote anything.
    """
    found = {
        figure: rows[column].to_numpy()
        for figure, column in RANKS.items()
        if column in rows.column_names
    }
    whole_R, own_R = (found.get(figure) for figure in RANKS)
    if whole_R is None or not np.isfinite(whole_R).all():
        return {}
    if own_R is None or not np.isfinite(own_R).all() or np.array_equal(whole_R, own_R):
        return {"likeliest": whole_R}
    return found
