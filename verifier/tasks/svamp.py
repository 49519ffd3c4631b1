"""SVAMP (Patel et al. 2021): for testing, or to learn from its equations.

SVAMP.json of https://github.com/arkilpatel/SVAMP (MIT licence): 1,000 problems.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from verifier.errors import DataError
from verifier.grading.equations import same_value
from verifier.system import log
from verifier.system.text_files import field, read_json, text_field
from verifier.tasks.local_files import find_folder
from verifier.tasks.word_problems import distinct, join, number_text
from verifier.tasks.worked_equations import for_learning
from verifier.text.problem import Problem

LABELLED = "svamp_equations"


def load_svamp(folder: str = "", solutions: str = "source") -> dict[str, list[Problem]]:
    """All problems, their answers numbers.

    Args:
        folder: the one with SVAMP.json; empty: the environment variable SVAMP_DIR.
        solutions: as `worked_equations.for_learning` has it.

    Raises:
        DataError: the file is missing or not in SVAMP's format.
    """
    path, rows = _read(folder)

    def listed() -> Iterator[tuple[str, str | None, str]]:
        for row, where in rows:
            equation = text_field(row, "Equation", where) if solutions == "equations" else ""
            yield _question(row, where), number_text(field(row, "Answer", where)), equation

    return for_learning(listed(), source="svamp", path=path, solutions=solutions)


def load_svamp_equations(folder: str = "") -> dict[str, list[Problem]]:
    """All problems with their equations as answers, in the splits of distilling step-by-step.

    Of Hsieh et al. 2023 (data_utils.py and run.py of their code) is reproduced which problems are
    in which split: of the file's order permuted by `numpy.random.RandomState(0)` the first four
    fifths are to train on and the others to test on; of the former, permuted anew by
    `numpy.random.default_rng(0)` (Hugging Face's train_test_split with seed 0), the first tenth is
    held out. That makes 720, 80 and 200. Answers are their labels, letter for letter
    (`( 8.0 - 3.0 )`). Questions have a full stop and a space, where theirs have a new line, between
    body and question, so that a question is the same one in every source. One label comes to
    another number than SVAMP's answer (chal-680); it stays, as it does there, and is counted.

    Args:
        folder: as `load_svamp`.

    Returns:
        "train", "heldout" and "test"; a `solution` is the equation alone.

    Raises:
        DataError: as `load_svamp`.
    """
    path, rows = _read(folder)
    count = len(rows)
    order = np.random.RandomState(0).permutation(count)
    learned, test = order[: count * 4 // 5], order[count * 4 // 5 :]
    inner = np.random.default_rng(0).permutation(len(learned))
    heldout = -(-len(learned) // 10)  # rounded up, as train_test_split does
    chosen = {"train": learned[inner[heldout:]], "heldout": learned[inner[:heldout]], "test": test}
    splits, wrong = {}, 0
    for split, indices in chosen.items():
        labelled = []
        for row, where in (rows[index] for index in indices):
            equation = text_field(row, "Equation", where)
            answer = number_text(field(row, "Answer", where))
            wrong += answer is None or not same_value(equation, answer)
            labelled.append((_question(row, where), equation, equation))
        splits[split] = distinct(labelled, LABELLED, split, path)
    if wrong:
        log.say(f"{LABELLED}: {wrong:,} of {count:,} equations do not come to SVAMP's answer")
    return splits


def _read(folder: str) -> tuple[pathlib.Path, list[tuple[Any, str]]]:
    """The file, and its problems with where they stand."""
    home = "https://github.com/arkilpatel/SVAMP"
    path = find_folder(folder, "SVAMP_DIR", ["SVAMP.json"], home) / "SVAMP.json"
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a {type(rows).__name__}; expected a list of problems")
    return path, [(row, f"{path}, problem {number}") for number, row in enumerate(rows)]


def _question(row: Any, where: str) -> str:
    return join(text_field(row, "Body", where), text_field(row, "Question", where))
