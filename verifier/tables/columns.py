"""Tables kept as numbers, read a piece at a time: text as dictionaries, solutions as answers.

What a report needs of every sample is its problem, its id, its answer, its score and its
likelihood, some forty bytes a row; the texts and token values stay on disk, and those of the few
solutions that are shown are read again. Python looks at different texts only once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from verifier.grading.extraction import answers
from verifier.tables import own_likelihood, token_values
from verifier.tables.scanning import Scan

ROW = "row"  # of a kept table: the number of the row in its scan
_OF_LISTS = {"token_scores", *own_likelihood.COLUMNS}  # which become numbers


def gather(
    scan: Scan, columns: Sequence[str], make: Callable[[pa.Table, int], pa.Table]
) -> pa.Table:
    """What `make` keeps of every piece, as one table of whole dictionaries and a chunk a column.

    Args:
        scan: the rows.
        columns: those that `make` is given.
        make: of a piece and the number of its first row; may keep dictionary columns.
    """
    kept = list(scan.pieces(columns, make))
    whole = pa.concat_tables(kept).unify_dictionaries().combine_chunks()
    return (
        whole.append_column(ROW, pa.array(np.arange(len(whole), dtype=np.int32)))
        if ROW not in whole.column_names
        else whole
    )


def keep(scan: Scan, columns: Sequence[str], grader: str | None = None) -> pa.Table:
    """Columns of a table of this project, text as dictionaries.

    Of lists numbers are kept: what `token_values.summarised` makes of `token_scores`, and
    `own_likelihood.summarised` of its COLUMNS, which are asked for together. With a grader,
    `answer` is what it finds in `solution`.
    """

    def make(piece: pa.Table, _: int) -> pa.Table:
        made = {name: coded(piece[name]) for name in columns if name not in _OF_LISTS}
        if "token_scores" in columns:
            made |= token_values.summarised(piece["token_scores"])
        if "logprobs" in columns:
            lists = (piece[name] for name in own_likelihood.COLUMNS)
            made |= own_likelihood.summarised(*lists)
        if grader:
            made["answer"] = answers(piece["solution"].combine_chunks(), grader)
        return pa.table(made)

    return gather(scan, [*columns, *(["solution"] if grader else [])], make)


def coded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as a dictionary, everything else as it is."""
    return column.dictionary_encode() if pa.types.is_string(column.type) else column
