"""The rows of one split, joined from its tables: samples with their problem, verdict and score.

Of every sample a few numbers are kept; its texts and token values stay on disk until they are asked
for (`SplitRows.cells`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.evaluate.candidates import Candidates
from verifier.grading import graders
from verifier.tables.columns import ROW
from verifier.tables.scanning import Scan

SCORE_ROW = "score_row"  # of a split's rows: the number of the row in the scores' scan


@dataclasses.dataclass(frozen=True)
class Kept:
    """What is kept of a table in memory, and where the rest of it is.

    Attributes:
        columns: `problem_id`, `sample_id`, `row` (its number in the scan), and of samples `answer`
            where a grader has read them, and the columns of `own_likelihood.RANKS`; of labels
            `answer`, `correct` and `grader`, of scores `score` and the columns of
            `token_values.summarised`; `generator` and `verifier` where known. Text may be
            dictionaries.
        scan: all columns of the table.
        too_long: of scores, samples that have none because they are longer than their verifier's
            context.
    """

    columns: pa.Table
    scan: Scan
    too_long: int = 0


@dataclasses.dataclass(frozen=True)
class SplitRows:
    """One split, row by row, and the same as `Candidates`.

    Attributes:
        rows: the samples' `columns`; where there are scores `score_row`, and where known `verifier`
            and what is kept of token values.
        answer: extracted answer of every row, as a dictionary.
        question: text of every problem; may lack some.
        gold: right answer of every problem.
        grader: who gave the verdicts.
        candidates: the rows ranked; `row_C` leads back to `rows`.
        texts: the samples' scan.
        values: the scores' scan; None: not scored.
        left_out: problems of the split that have no samples and so are not counted; None: not
            known.
        missing: samples that were left out, by what they lack (`joining.without_missing`,
            `without_too_long`).
        not_graded: solutions that the grader was too long over; they count as wrong.
        fixed_labels: gold answers that were corrected, as `corrections.corrected` gives them.
        tokens: of all samples; 0: not known.
        prefixes: how many distinct ones the samples have.
    """

    rows: pa.Table
    answer: pa.DictionaryArray
    question: Mapping[str, str]
    gold: Mapping[str, str]
    grader: str
    candidates: Candidates
    texts: Scan
    values: Scan | None = None
    left_out: int | None = 0
    missing: Mapping[str, int] = dataclasses.field(default_factory=dict)
    not_graded: int = 0
    fixed_labels: Sequence[Mapping[str, str]] = ()
    tokens: int = 0
    prefixes: int = 0

    @property
    def names(self) -> list[str]:
        """The columns of the samples, then those of the scores."""
        return list(dict.fromkeys([*self.texts.names, *(self.values.names if self.values else [])]))

    def verdicts(self, rows: np.ndarray) -> graders.Relabelled:
        """Answer and verdict of chosen rows."""
        correct = np.zeros(len(self.rows), bool)
        correct[self.candidates.row_C] = self.candidates.correct_C
        return graders.Relabelled(
            self.answer.take(pa.array(rows)).to_pylist(), correct[rows], self.not_graded
        )

    def facts(self, column: str) -> list[str]:
        """The distinct values of a column, such as the generators; empty without that column."""
        values = (
            pc.unique(self.rows[column]).to_pylist() if column in self.rows.column_names else []
        )
        return sorted(str(value) for value in values if value is not None)

    def cells(self, rows: np.ndarray, names: Sequence[str]) -> dict[str, list[Any]]:
        """Texts and token values of chosen rows, read from where they lie.

        Args:
            rows: [any] indices into `rows`.
            names: of columns; those of the scores stand in for the samples' own.

        Returns:
            For every column that is there its cells, in the order of `rows`.
        """
        cells: dict[str, list[Any]] = {}
        # One file may hold samples and scores.
        apart = self.values if self.values is not self.texts else None
        for scan, number in ((self.texts, ROW), (apart, SCORE_ROW)):
            there = [name for name in names if scan is not None and name in scan.names]
            if scan is not None and there and len(rows):
                read = scan.take(self.rows[number].to_numpy()[rows], there)
                cells |= {name: read[name].to_pylist() for name in there}
        return cells

    def row_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The row group of each row's texts, and the rows decoded to read any of a group's."""
        return self.texts.groups_of(self.rows[ROW].to_numpy())
