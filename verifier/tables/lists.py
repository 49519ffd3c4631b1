"""Arrow columns of lists in lists, out of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column; where all its values are matrices, rows become lists, with no object for each.

    Raises:
        pa.ArrowInvalid: values of another type.
        ValueError: matrices of different widths.
    """
    if not values or not all(isinstance(each, np.ndarray) and each.ndim == 2 for each in values):
        return pa.array(values, kind)
    whole = np.concatenate(values)
    rows, width = whole.shape
    inner = pa.ListArray.from_arrays(
        pa.array(np.arange(rows + 1, dtype=np.int32) * width),
        pa.array(whole.reshape(-1), kind.value_type.value_type),
    )
    ends = np.cumsum([0, *map(len, values)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), inner).cast(kind)
