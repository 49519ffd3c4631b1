"""SVAMP (Patel et al. 2021), for testing only.

SVAMP.json of https://github.com/arkilpatel/SVAMP (MIT licence).
"""

from __future__ import annotations

from collections.abc import Iterator

from verifier.errors import DataError
from verifier.system.text_files import field, read_json, text_field
from verifier.tasks.local_files import find_folder
from verifier.tasks.word_problems import for_testing, join, number_text
from verifier.text.problem import Problem


def load_svamp(folder: str = "") -> dict[str, list[Problem]]:
    """All problems as "test"; "train" is empty.

    Args:
        folder: the one with SVAMP.json; empty: the environment variable SVAMP_DIR.

    Raises:
        DataError: the file is missing or not in SVAMP's format.
    """
    path = (
        find_folder(folder, "SVAMP_DIR", ["SVAMP.json"], "https://github.com/arkilpatel/SVAMP")
        / "SVAMP.json"
    )
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a {type(rows).__name__}; expected a list of problems")

    def pairs() -> Iterator[tuple[str, str | None]]:
        for number, row in enumerate(rows):
            where = f"{path}, problem {number}"
            question = join(text_field(row, "Body", where), text_field(row, "Question", where))
            yield question, number_text(field(row, "Answer", where))

    return for_testing(pairs(), source="svamp", path=path)
