"""Questions with a label out of a few, from JSON lines in the field names of known data sets.

    input, label                        any
    premise, hypothesis, label          e-SNLI, ANLI: 0, 1, 2 are entailment, neutral, contradiction
    question, choices, answer           CoS-E, CommonsenseQA: the right choice, by its text
    question, choices, answerKey          or by its letter; choices may lie inside the question

The inputs are those of distilling step-by-step (Hsieh et al. 2023; data_utils.py of their code):
choices follow the question a line each, (a) to (e), and the label is the choice's text. Premise and
hypothesis are parted by a new line, where the code has the end token of its tokenizer.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from verifier.errors import DataError
from verifier.grading.rationales import told
from verifier.system import log
from verifier.system.text_files import field, jsonl_rows, text_field
from verifier.tasks.local_files import find_folder
from verifier.tasks.word_problems import with_one_answer
from verifier.text.problem import Problem, make_problem

SOURCE = "labelled_choice"
VARIABLE = "LABELLED_CHOICE_DIR"
NLI_LABELS = ("entailment", "neutral", "contradiction")
_FILES = {"train": "train.jsonl", "heldout": "valid.jsonl", "test": "test.jsonl"}
_RATIONALES = ("rationale", "explanation", "explanation_1", "abstractive_explanation", "reason")
_UNLABELLED = ("", "-", "-1")


class Item(NamedTuple):
    """A question with its label."""

    question: str
    label: str | None  # None: the row has none
    rationale: str  # empty: the row has none


def load_labelled_choice(folder: str = "") -> dict[str, list[Problem]]:
    """The problems of a folder's files; rows without a label are left out, and counted.

    Args:
        folder: the one with train.jsonl, test.jsonl and, if problems are held out by their source,
            valid.jsonl; empty: the environment variable LABELLED_CHOICE_DIR.

    Returns:
        "train", "test", and "heldout" where there is a valid.jsonl. `solution` is the rationale and
        `So the answer is LABEL.`, or the latter alone.

    Raises:
        DataError: a file is missing, or a row has none of the fields above.
    """
    required = [_FILES["train"], _FILES["test"]]
    root = find_folder(folder, VARIABLE, required, "a data set with labels, as JSON lines")
    there = {split: root / name for split, name in _FILES.items() if (root / name).is_file()}
    return {split: _problems(path, split) for split, path in there.items()}


def _problems(path: pathlib.Path, split: str) -> list[Problem]:
    items = [read_item(row, where) for row, where in jsonl_rows(path)]
    problems = [
        make_problem(each.question, told(each.rationale, each.label), each.label, SOURCE, split)
        for each in items
        if each.label is not None
    ]
    if not problems:
        raise DataError(f"{path}: none of its {len(items):,} rows has a label; expected some")
    missing = len(items) - len(problems)
    if missing:
        log.say(f"{path}: {missing:,} of {len(items):,} rows left out, which have no label")
    return with_one_answer(problems, f"{SOURCE} {split}")


def read_item(row: Mapping[str, Any], where: str) -> Item:
    """A row of a file.

    Args:
        row: its fields.
        where: it stands, for messages.

    Raises:
        DataError: it has none of the sets of fields above, or a label that cannot be one.
    """
    rationale = next((text for name in _RATIONALES if isinstance(text := row.get(name), str)), "")
    if "premise" in row and "hypothesis" in row:
        premise, hypothesis = (text_field(row, name, where) for name in ("premise", "hypothesis"))
        return Item(f"{premise}\n{hypothesis}", _nli_label(row, where), rationale.strip())
    if "question" in row and ("choices" in row or isinstance(row["question"], Mapping)):
        return _chosen(row, where, rationale.strip())
    if "input" in row and "label" in row:
        label = _label_text(row["label"], where)
        return Item(text_field(row, "input", where), label, rationale.strip())
    raise DataError(
        f"{where}: the fields {', '.join(row) or 'none'}; expected input and label, or premise, "
        "hypothesis and label, or question, choices and answer or answerKey"
    )


def _label_text(label: object, where: str) -> str | None:
    """A label as text; None for a mark that there is none."""
    if label is None or isinstance(label, (Mapping, list)):
        raise DataError(f"{where}: the label is {str(label)[:40]!r}; expected text or a number")
    text = str(label).strip()
    return None if text in _UNLABELLED else text


def _nli_label(row: Mapping[str, Any], where: str) -> str | None:
    text = _label_text(field(row, "label", where), where)
    if text in NLI_LABELS or text is None:
        return text
    if text not in ("0", "1", "2"):
        raise DataError(
            f"{where}: the label is {text!r}; expected 0, 1, 2 or {', '.join(NLI_LABELS)}"
        )
    return NLI_LABELS[int(text)]


def _chosen(row: Mapping[str, Any], where: str, rationale: str) -> Item:
    """A question with its choices below it, and the text of the right one."""
    question = row["question"]
    inside = isinstance(question, Mapping)
    stem = text_field(question, "stem", where) if inside else text_field(row, "question", where)
    choices = _choices(field(question if inside else row, "choices", where), where)
    listed = [f"({chr(ord('a') + n)}) {text}" for n, text in enumerate(choices.values())]
    asked = "\n".join([stem, "Answer Choices:", *listed])
    name = "answer" if "answer" in row else "answerKey"
    answer = text_field(row, name, where).strip()
    if not answer:
        return Item(asked, None, rationale)
    label = choices.get(answer) if name == "answerKey" else answer
    if label not in choices.values():
        raise DataError(
            f"{where}: {name} is {answer!r}, which is none of its choices: "
            f"{', '.join(f'{letter} {text!r}' for letter, text in choices.items())}"
        )
    return Item(asked, label, rationale)


def _choices(choices: Any, where: str) -> dict[str, str]:
    """Choices by letter: from a list of texts, a list of objects, or an object of two lists."""
    if isinstance(choices, Mapping):
        letters, texts = (field(choices, name, where) for name in ("label", "text"))
        both = isinstance(letters, list) and isinstance(texts, list)
        pairs = (
            list(zip(letters, texts, strict=True)) if both and len(letters) == len(texts) else []
        )
    elif isinstance(choices, list) and all(isinstance(each, Mapping) for each in choices):
        pairs = [(field(each, "label", where), field(each, "text", where)) for each in choices]
    elif isinstance(choices, list):
        pairs = [(chr(ord("A") + n), text) for n, text in enumerate(choices)]
    else:
        pairs = []
    if not pairs or not all(isinstance(text, str) for _, text in pairs):
        raise DataError(
            f"{where}: the choices are {str(choices)[:40]!r}; expected a list of texts, a list of "
            "objects with label and text, or an object of two lists of one length, label and text"
        )
    return {str(letter): text.strip() for letter, text in pairs}
