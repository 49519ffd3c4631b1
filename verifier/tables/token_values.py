"""What is kept of the verifier's values at a solution's tokens.

Kept are a number for each way to put them together, and the values at every tenth: some seventy
bytes a solution, made piece by piece. The values themselves stay on disk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TENTHS = range(1, 11)
# Columns: how many tokens have a value; the values after each tenth of them
COUNT, AT_TENTHS = "value_count", "value_at_tenths"
_AGGREGATE, _LOG = "value_{}", "value_log"
_KEPT = ("mean", "min")
# The least that a value counts in a product: squared error gives values below 0, and one of them
# must not make all equal.
_FLOOR = 1e-6


class Scores(NamedTuple):
    """score_R: [rows] float64; log_R: their logarithms where they are products.

    Where a row has no token values, they are NaN.
    """

    score_R: np.ndarray
    log_R: np.ndarray | None = None


def aggregate(
    value_N: np.ndarray, length_R: np.ndarray, how: str, last_line_N: np.ndarray | None = None
) -> Scores:
    """One score a solution.

    Args:
        value_N: values of all tokens, solution after solution.
        length_R: tokens of each solution.
        how: `last`; `mean`; `min`; `product` of values, each clipped to [1e-6, 1], as a sum of
            logarithms; `last_line`: mean over the tokens of the last line.
        last_line_N: which tokens write the last line (`aggregation.in_last_line`), for `last_line`
            alone.

    Returns:
        Scores; a NaN among a solution's values makes its score NaN.
    """
    if how == "product":
        log_N = np.log(np.clip(value_N.astype(np.float64), _FLOOR, 1.0))
        log_R = over_rows(np.add, log_N, length_R)
        return Scores(np.exp(log_R), log_R)
    if how == "last":
        there_R = length_R > 0
        return Scores(_spread(value_N[np.cumsum(length_R)[there_R] - 1], there_R))
    if how == "min":
        return Scores(over_rows(np.minimum, value_N, length_R))
    if how == "mean":
        return Scores(over_rows(np.add, value_N, length_R, np.float64) / length_R)
    assert how == "last_line" and last_line_N is not None, how
    own_N = np.where(last_line_N, value_N, 0.0)
    count_R = over_rows(np.add, last_line_N, length_R, np.int64)
    return Scores(over_rows(np.add, own_N, length_R, np.float64) / count_R)


def summarised(column: pa.ChunkedArray) -> dict[str, pa.Array]:
    """The columns that are kept in place of a list of token values a row.

    A row without a list has NaN in them, and the count 0.
    """
    if not (pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type)):
        column = column.cast(pa.list_(pa.float64()))  # a file made elsewhere
    value_N, length_R = ragged(column)
    there_R = length_R > 0
    at_R10 = np.full((len(length_R), len(TENTHS)), np.nan, value_N.dtype)
    start, length = (np.cumsum(length_R) - length_R)[there_R], length_R[there_R]
    for index, tenth in enumerate(TENTHS):
        at_R10[there_R, index] = value_N[start - (-tenth * length // 10) - 1]
    return {
        COUNT: pa.array(length_R.astype(np.int32)),
        **{
            _AGGREGATE.format(how): pa.array(aggregate(value_N, length_R, how).score_R)
            for how in _KEPT
        },
        _LOG: pa.array(aggregate(value_N, length_R, "product").log_R),
        AT_TENTHS: pa.FixedSizeListArray.from_arrays(pa.array(at_R10.ravel()), len(TENTHS)),
    }


def names(columns: list[str]) -> list[str]:
    """Those of some columns' names that `summarised` makes."""
    return [name for name in columns if name.startswith("value_")]


def kept(rows: pa.Table, how: str) -> Scores:
    """The scores of rows with the columns of `summarised`, by `mean`, `min` or `product`."""
    if how == "product":
        log_R = rows[_LOG].to_numpy()
        return Scores(np.exp(log_R), log_R)
    return Scores(rows[_AGGREGATE.format(how)].to_numpy())


def at_tenths(rows: pa.Table) -> np.ndarray:
    """[rows, 10] the values after tokens ceil(0.1 n), ceil(0.2 n), ..., n of each solution's n."""
    whole = rows[AT_TENTHS].combine_chunks()
    return whole.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), len(TENTHS))


def not_finite(rows: pa.Table) -> np.ndarray:
    """[rows] NaN or infinite where one of a row's token values is, else 0.

    A row of whose token values nothing is known has 0, too.
    """
    if COUNT not in rows.column_names:
        return np.zeros(len(rows))
    mean_R = kept(rows, "mean").score_R
    return np.where((rows[COUNT].to_numpy() > 0) & ~np.isfinite(mean_R), mean_R, 0.0)


def ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A list column as all its values in a row [N] and the length of each list [rows].

    A missing list is an empty one.
    """
    length_R = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    return pc.list_flatten(column).to_numpy(), length_R


def over_rows(
    how: np.ufunc,
    value_N: np.ndarray,
    length_R: np.ndarray,
    dtype: type[np.generic] | None = None,
    fill: float = np.nan,
) -> np.ndarray:
    """[rows] what a ufunc makes of each row's values, in `dtype`; `fill` of a row without any."""
    there_R = length_R > 0
    start = (np.cumsum(length_R) - length_R)[there_R]
    # Nothing is reduced where there is nothing.
    values = how.reduceat(value_N, start, dtype=dtype) if len(start) else np.empty(0)
    return _spread(values, there_R, fill)


def _spread(values: np.ndarray, there_R: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """Values of the rows that have any, among all rows; `fill` elsewhere."""
    out_R = np.full(len(there_R), fill)
    out_R[there_R] = values
    return out_R
