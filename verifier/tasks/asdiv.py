"""ASDiv (Miao et al. 2020), for testing, or to learn from its equations.

ASDiv.xml of https://github.com/chaochun/nlu-asdiv-dataset (CC BY-NC 4.0).

Answers look like `9 (apples)`. Of 2,305 problems 2,084 have one number (2,083 distinct questions);
several numbers, ratios, times and names are skipped.
"""

from __future__ import annotations

import pathlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from verifier.errors import DataError
from verifier.tasks.local_files import find_folder
from verifier.tasks.word_problems import join, number_text
from verifier.tasks.worked_equations import for_learning
from verifier.text.problem import Problem

_UNIT = re.compile(r"\s*\([^()]*\)\s*$")


def load_asdiv(folder: str = "", solutions: str = "source") -> dict[str, list[Problem]]:
    """The problems with one numeric answer.

    Args:
        folder: the one with ASDiv.xml; empty: the environment variable ASDIV_DIR.
        solutions: as `worked_equations.for_learning` has it.

    Raises:
        DataError: the file is missing or not in ASDiv's format.
    """
    home = "https://github.com/chaochun/nlu-asdiv-dataset, folder dataset"
    path = find_folder(folder, "ASDIV_DIR", ["ASDiv.xml"], home) / "ASDiv.xml"
    return for_learning(_rows(path), source="asdiv", path=path, solutions=solutions)


def _rows(path: pathlib.Path) -> Iterator[tuple[str, str | None, str]]:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise DataError(
            f"{path}, line {error.position[0]}: not XML ({error}); fetch the file again"
        ) from error
    # A file that cannot be read, or an encoding that nobody knows.
    except (OSError, LookupError, ValueError) as error:
        raise DataError(f"{path} cannot be read as XML ({error}); fetch the file again") from error
    for problem in root.iter("Problem"):
        texts = {name: problem.findtext(name) for name in ("Body", "Question", "Answer")}
        for name, text in texts.items():
            if text is None:
                raise DataError(
                    f"{path}, problem {problem.get('ID')}: no element {name}; expected Body, "
                    "Question and Answer"
                )
        yield (
            join(texts["Body"] or "", texts["Question"] or ""),
            number_text(_UNIT.sub("", texts["Answer"] or "")),
            problem.findtext("Formula") or "",
        )
