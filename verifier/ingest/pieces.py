"""Fields of some rows of a file made elsewhere, as columns of this project.

A cell that is missing or no number is refused by file and row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.errors import TablesError
from verifier.grading import extraction
from verifier.grading.answer_styles import answer_line
from verifier.tables import token_values
from verifier.tables.scanning import Scan
from verifier.text.problem import problem_id


class Piece(NamedTuple):
    """Some rows of a file, and where they stand in it.

    Attributes:
        table: the rows, by the names of `layouts.FIELDS`.
        first: number of the first one in the scan.
        scan: that they are of.
    """

    table: pa.Table
    first: int
    scan: Scan

    def filled(self, name: str) -> pa.ChunkedArray:
        """A column without empty cells.

        Raises:
            TablesError: it has some.
        """
        empty = np.nonzero(pc.is_null(self.table[name]).to_numpy(zero_copy_only=False))[0]
        if len(empty):
            raise TablesError(
                f"{self.scan.path}: field `{name}` is missing in row {self._rows(empty)} of "
                f"{self.scan.rows:,}; expected a value in every row"
            )
        return self.table[name]

    def texts(self, name: str) -> pa.ChunkedArray:
        """A column as text, some of which may be empty, as a dictionary."""
        return self.table[name].cast(pa.string()).dictionary_encode()

    def numbers(self, name: str) -> pa.ChunkedArray:
        """A column as float64, empty cells left empty.

        Raises:
            TablesError: it holds something else.
        """
        column = self.table[name]
        try:
            return column.cast(pa.float64(), safe=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise TablesError(
                f"{self.scan.path}: field `{name}` is {column.type}; expected numbers ({reason}); "
                f"--fields={name}= leaves it out"
            ) from error

    def problem_ids(self) -> pa.ChunkedArray:
        """The file's own ids of problems, else those of its questions."""
        if "problem_id" in self.scan.names:
            return self.filled("problem_id").dictionary_encode()
        return _mapped(self.filled("question"), problem_id)

    def gold_answers(self) -> pa.Array:
        """The part of each gold answer that a grader is to read."""
        return _mapped(self.filled("answer"), _final)

    def sample_ids(self) -> np.ndarray:
        """The file's own sample ids, as int32.

        Raises:
            TablesError: one is missing, or no whole number that int32 has room for.
        """
        given = self._every_number("sample_id")
        most = np.iinfo(np.int32).max
        bad = np.nonzero((given < 0) | (given > most) | (given != np.floor(given)))[0]
        if len(bad):
            value = self.table["sample_id"][int(bad[0])].as_py()
            where = f"{self._rows(bad)}; expected a whole number from 0 to {most:,}"
            raise TablesError(f"{self.scan.path}: field `sample_id` is {value} in row {where}")
        return given.astype(np.int32)

    def values(self) -> dict[str, pa.Array]:
        """What is kept of the values of tokens, where the file has them.

        Raises:
            TablesError: they are no lists of numbers.
        """
        if "token_scores" not in self.scan.names:
            return {}
        column = self.table["token_scores"]
        try:
            return token_values.summarised(column)
        except (pa.ArrowException, AttributeError) as error:
            raise TablesError(
                f"{self.scan.path}: field `token_scores` is {column.type}; expected lists of "
                "numbers"
            ) from error

    def _every_number(self, name: str) -> np.ndarray:
        """A column as float64 without empty cells and without NaN."""
        self.filled(name)
        numbers = self.numbers(name).to_numpy(zero_copy_only=False)
        bad = np.nonzero(np.isnan(numbers))[0]
        if len(bad):
            raise TablesError(
                f"{self.scan.path}: field `{name}` is NaN in row {self._rows(bad)}; expected a "
                "number in every row"
            )
        return numbers

    def _rows(self, rows: np.ndarray) -> str:
        """Rows of the piece as people count them."""
        return self.scan.named(rows + self.first)


def _mapped(column: pa.ChunkedArray, change: Callable[[str], str]) -> pa.Array:
    """What `change` makes of every text, which is asked once for each different one."""
    code, texts = extraction.codes(column)
    return (
        pa.array([change(str(text)) for text in texts], pa.string())
        .take(pa.array(code))
        .dictionary_encode()
    )


def _final(answer: str) -> str:
    """A worked solution's last line, or all of a gold answer."""
    return answer_line(answer) or answer.strip()
