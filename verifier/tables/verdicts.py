"""Who says which samples are right while a table of them is read piece by piece."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.errors import TablesError
from verifier.grading.graders import Relabelled
from verifier.tables import store
from verifier.tables.scanning import scan_table

_KEY = ["problem_id", "sample_id"]


class Verdicts(NamedTuple):
    """Of some samples, bool [rows]."""

    answered: np.ndarray  # an answer was found
    right: np.ndarray


# Of samples with the columns problem_id, sample_id and solution.
Judge = Callable[[pa.Table], Verdicts]
Grade = Callable[[Iterable[str], Iterable[str]], Relabelled]  # as `graders.opened` gives it


class Labels:
    """A split's stored labels, held as numbers: some ten bytes a sample."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Reads them.

        Raises:
            StoreError: they are not there, or not whole.
        """
        self._folder, scan = folder, scan_table(folder, "labels")

        def make(piece: pa.Table, _: int) -> pa.Table:
            return pa.table(
                {
                    "problem_id": piece["problem_id"].dictionary_encode(),
                    "sample_id": piece["sample_id"],
                    "answered": pc.is_valid(piece["answer"]),
                    "right": piece["correct"],
                }
            )

        pieces = list(scan.pieces([*_KEY, "answer", "correct"], make))
        self._ids = pa.array([], pa.string())
        key_R, answered_R, right_R = np.zeros(0, np.int64), *np.zeros((2, 0), bool)
        if pieces:
            whole = pa.concat_tables(pieces).unify_dictionaries().combine_chunks()
            self._ids = whole["problem_id"].chunk(0).dictionary
            problem_R = whole["problem_id"].chunk(0).indices.to_numpy()
            key_R = _keys(problem_R, whole["sample_id"])
            answered_R, right_R = (whole[name].to_numpy() for name in ("answered", "right"))
        order = np.argsort(key_R, kind="stable")
        self._key_R = key_R[order]
        self._answered_R, self._right_R = answered_R[order], right_R[order]

    def __call__(self, samples: pa.Table) -> Verdicts:
        """The labels of samples.

        Raises:
            TablesError: one has none.
        """
        known = pc.index_in(samples["problem_id"], value_set=self._ids)
        problem_R = np.asarray(pc.fill_null(known, -1))
        wanted_R = _keys(problem_R, samples["sample_id"])
        row_R = np.searchsorted(self._key_R, wanted_R)
        found_R = np.append(self._key_R, -1)[row_R] == wanted_R
        lost = np.flatnonzero(~found_R | (problem_R < 0))
        if len(lost):
            problem, sample = (samples[name][int(lost[0])].as_py() for name in _KEY)
            raise TablesError(
                f"{self._folder}: no label of problem {problem}, sample {sample}; label these "
                "samples (the stage label), or name the labels that belong to them"
            )
        return Verdicts(self._answered_R[row_R], self._right_R[row_R])


def solved(folder: pathlib.Path) -> dict[str, bool]:
    """Which problems have a right solution, by the labels in a folder."""
    table = store.read_table(folder, "labels", ["problem_id", "correct"])
    return any_right(*(table[name].to_pylist() for name in ("problem_id", "correct")))


def any_right(problem_ids: Iterable[str], verdicts: Iterable[bool]) -> dict[str, bool]:
    """Which problems have a right solution, by verdicts on their solutions."""
    right: dict[str, bool] = {}
    for problem_id, correct in zip(problem_ids, verdicts, strict=True):
        right[problem_id] = right.get(problem_id, False) or correct
    return right


def graded(grade: Grade, gold: Mapping[str, str]) -> Judge:
    """Judges samples as they come.

    Args:
        grade: of texts of solutions, and the right answer of each.
        gold: right answers, by problem.
    """

    def judge(samples: pa.Table) -> Verdicts:
        problems = samples["problem_id"].to_pylist()
        if lost := [problem for problem in problems if problem not in gold]:
            raise TablesError(
                f"no right answer of problem {lost[0]}, which has solutions; expected one of every "
                "problem: name the table or file that has them"
            )
        made = grade(samples["solution"].to_pylist(), [gold[problem] for problem in problems])
        return Verdicts(np.array([each is not None for each in made.answers]), made.correct)

    return judge


def _keys(problem_R: np.ndarray, sample_id: pa.ChunkedArray) -> np.ndarray:
    return (problem_R.astype(np.int64) << 32) + sample_id.to_numpy().astype(np.int64)
