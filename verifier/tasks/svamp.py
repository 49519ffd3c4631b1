"""SVAMP (Patel et al. 2021), for testing only: https://github.com/arkilpatel/SVAMP, SVAMP.json (MIT
licence). Knows no other data set.
"""

from __future__ import annotations

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
    places = [f"{path}, problem {number}" for number in range(len(rows))]
    return for_testing(
        (
            (
                join(text_field(row, "Body", place), text_field(row, "Question", place)),
                number_text(field(row, "Answer", place)),
            )
            for row, place in zip(rows, places, strict=True)
        ),
        source="svamp",
        path=path,
    )
