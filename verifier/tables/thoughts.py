"""The table thoughts as what was gained at every token that something before it predicts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.evaluate.thoughts import Gains

COLUMNS = (
    *("window", "document", "token", "kind", "logprob_base", "logprob_talk", "mixing"),
    *("rewards", "entropies"),
)


def gains(table: pa.Table) -> Gains:
    """Gains in the order of windows, documents and tokens.

    Args:
        table: rows with at least `COLUMNS`.
    """
    keys = [(name, "ascending") for name in ("window", "document", "token")]
    rows = table.filter(pc.is_valid(table["logprob_base"])).sort_by(keys).combine_chunks()
    return Gains(
        document_T=rows["document"].to_numpy(),
        window_T=rows["window"].to_numpy(),
        kind_T=np.asarray(rows["kind"].to_pylist(), np.str_),
        base_T=rows["logprob_base"].to_numpy().astype(float),
        talk_T=rows["logprob_talk"].to_numpy().astype(float),
        reward_T=_means(rows["rewards"]),
        mixing_T=rows["mixing"].to_numpy().astype(float),
        entropy_T=_means(rows["entropies"]),
    )


def _means(lists: pa.ChunkedArray) -> np.ndarray:
    """The mean of every list; NaN of an empty one."""
    whole = lists.combine_chunks()
    length_T = pc.list_value_length(whole).to_numpy(zero_copy_only=False)
    row = pc.list_parent_indices(whole).to_numpy()
    sum_T = np.bincount(row, pc.list_flatten(whole).to_numpy().astype(float), len(length_T))
    return np.divide(sum_T, length_T, out=np.full(len(length_T), np.nan), where=length_T > 0)
