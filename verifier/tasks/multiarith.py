"""MultiArith (Roy and Roth 2015), for testing, or to learn from its equations.

MultiArith.json: 600 problems with 580 distinct questions.
"""

from __future__ import annotations

from collections.abc import Iterator

from verifier.errors import DataError
from verifier.system.text_files import field, read_json, text_field
from verifier.tasks.local_files import find_folder
from verifier.tasks.word_problems import join, number_text
from verifier.tasks.worked_equations import for_learning
from verifier.text.problem import Problem

_HOME = "https://github.com/kojima-takeshi188/zero_shot_cot, folder dataset/MultiArith"


def load_multiarith(folder: str = "", solutions: str = "source") -> dict[str, list[Problem]]:
    """All distinct problems.

    Args:
        folder: the one with MultiArith.json; empty: the environment variable MULTIARITH_DIR.
        solutions: as `worked_equations.for_learning` has it.

    Raises:
        DataError: the file is missing or not in MultiArith's format.
    """
    path = find_folder(folder, "MULTIARITH_DIR", ["MultiArith.json"], _HOME) / "MultiArith.json"
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a {type(rows).__name__}; expected a list of problems")

    def listed() -> Iterator[tuple[str, str | None, str]]:
        for number, row in enumerate(rows):
            where = f"{path}, problem {number}"
            answers = field(row, "lSolutions", where)
            answer = (
                number_text(answers[0]) if isinstance(answers, list) and len(answers) == 1 else None
            )
            equations = field(row, "lEquations", where) if solutions == "equations" else ()
            equation = "; ".join(map(str, equations))
            yield join("", text_field(row, "sQuestion", where)), answer, equation

    return for_learning(listed(), source="multiarith", path=path, solutions=solutions)
