"""GSM8K from a local folder, TFDS or the Hugging Face hub: the same problems, ids and order.

The order is that of the problem ids (hashes of the questions), so no source's own order shows: TFDS
shuffles when it writes its files. Data: Cobbe et al. 2021, 7,473 training and 1,319 test problems,
https://github.com/openai/grade-school-math (MIT licence).
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from verifier.errors import DataError
from verifier.system import log
from verifier.system.text_files import field, jsonl_rows
from verifier.tables.parts import open_part
from verifier.tasks.local_files import find_folder
from verifier.tasks.word_problems import refuse_other_answer
from verifier.text.answer_lines import MARK
from verifier.text.problem import Problem, make_problem

SPLITS = ("train", "test")
HUB_REPOSITORY = "openai/gsm8k"
HUB_FILE = "main/{split}-00000-of-00001.parquet"
_HOME = "https://github.com/openai/grade-school-math, folder grade_school_math/data"
_OFFLINE = (
    "Or take the files local: data.source=local with GSM8K_DIR or --set data.dir= naming a "
    "folder with train.jsonl and test.jsonl"
)
_IN_CACHE = "Without a network HF_HUB_OFFLINE=1 takes what an earlier run left in the hub's cache."

Row = tuple[str, str, str]  # question, answer, and where they stand, for messages


def load_gsm8k(folder: str = "", source: str = "local") -> dict[str, list[Problem]]:
    """The problems of both splits, sorted by problem_id.

    Args:
        folder: for "local" the one with train.jsonl and test.jsonl (empty: the environment variable
            GSM8K_DIR); for "hub" a copy of the hub's data set repository (empty: it is fetched, or
            taken from the hub's cache).
        source: "local", "tfds" (extra [tfds]) or "hub" (extra [hub]).

    Returns:
        "train" and "test"; `solution` is the whole worked text, `answer` what follows `#### ` in
        its last line.

    Raises:
        DataError: the data are missing (the message says how to supply them) or a row is malformed
            (file and line are named).
    """
    sources = {"local": _local_rows, "tfds": _tfds_rows, "hub": _hub_rows}
    if source not in sources:
        raise DataError(f"data.source is {source!r}; expected one of {', '.join(sources)}")
    return {split: _problems(sources[source](folder, split), split) for split in SPLITS}


def _problems(rows: Iterator[Row], split: str) -> list[Problem]:
    problems: dict[str, Problem] = {}
    count = 0
    for question, text, where in rows:
        count += 1
        problem = make_problem(
            question, text, _final_answer(text, where), source="gsm8k", split=split
        )
        # Of equal questions the one with the least text stays: a choice that no order of rows
        # changes.
        kept = problems.setdefault(problem.problem_id, problem)
        refuse_other_answer(kept, problem)
        problems[problem.problem_id] = min(
            kept, problem, key=lambda each: (each.question, each.solution or "")
        )
    if len(problems) < count:
        log.say(
            f"gsm8k {split}: {count - len(problems)} of {count} problems repeat a question; each "
            "is kept once"
        )
    return [problems[problem_id] for problem_id in sorted(problems)]


def _final_answer(text: str, where: str) -> str:
    last = text.strip().rpartition("\n")[2]
    answer = last.removeprefix(f"{MARK} ").strip()
    if not last.startswith(f"{MARK} ") or not answer:
        raise DataError(f"{where}: the answer ends in the line {last[:60]!r}; expected '{MARK} N'")
    return answer


def _local_rows(folder: str, split: str) -> Iterator[Row]:
    path = (
        find_folder(folder, "GSM8K_DIR", [f"{each}.jsonl" for each in SPLITS], _HOME)
        / f"{split}.jsonl"
    )
    for row, where in jsonl_rows(path):
        yield (
            _text(field(row, "question", where), where),
            _text(field(row, "answer", where), where),
            where,
        )


def _tfds_rows(folder: str, split: str) -> Iterator[Row]:
    try:
        import tensorflow_datasets as tfds
        import tensorflow_datasets.text.gsm8k  # noqa: F401  without it the builder is not found
    except ImportError as error:
        raise DataError(
            f"data.source=tfds: {error}; pip install 'tensorflow-datasets>=4.9.10'. {_OFFLINE}."
        ) from error
    try:
        # Only array_record: the parquet of TFDS silently keeps 400 of the 1,319 test rows, and
        # others need TensorFlow.
        kept_in = {"data_dir": folder} if folder else {}
        rows = tfds.data_source(
            "gsm8k", split=split, builder_kwargs={"file_format": "array_record", **kept_in}
        )
    except OSError as error:  # no network, no disk: what the downloads raise
        reason = str(error).partition("\n")[0]
        raise DataError(f"TFDS could not prepare gsm8k ({reason}). {_OFFLINE}.") from error
    if not len(rows):
        raise DataError(
            f"TFDS gave an empty gsm8k, {split}: remove its folder and prepare it anew. {_OFFLINE}."
        )
    for number, row in enumerate(rows):
        where = f"TFDS gsm8k, {split} row {number}"
        yield (
            _text(field(row, "question", where), where),
            _text(field(row, "answer", where), where),
            where,
        )


def _hub_rows(folder: str, split: str) -> Iterator[Row]:
    name = HUB_FILE.format(split=split)
    if folder:
        path = (
            find_folder(
                folder,
                "data.dir",
                [HUB_FILE.format(split=each) for each in SPLITS],
                f"hub data set {HUB_REPOSITORY}",
            )
            / name
        )
    else:
        path = _from_hub(name)
    table = open_part(path, None).read()
    for wanted in ("question", "answer"):
        if wanted not in table.column_names:
            raise DataError(f"{path}: no field {wanted!r}; it has {', '.join(table.column_names)}")
    if not len(table):
        raise DataError(f"{path} is empty; fetch it again from the hub data set {HUB_REPOSITORY}")
    for number, (question, text) in enumerate(
        zip(table["question"].to_pylist(), table["answer"].to_pylist(), strict=True)
    ):
        where = f"{path}, row {number}"
        yield _text(question, where), _text(text, where), where


def _from_hub(name: str) -> pathlib.Path:
    try:
        import huggingface_hub
    except ImportError as error:
        raise DataError(
            f"data.source=hub needs huggingface-hub ({error}): pip install huggingface-hub. "
            f"{_OFFLINE}."
        ) from error
    try:
        return pathlib.Path(
            huggingface_hub.hf_hub_download(HUB_REPOSITORY, name, repo_type="dataset")
        )
    # No network and no copy in the cache, no such file, a hub that refuses.
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{name} of {HUB_REPOSITORY} could not be fetched from the hub ({reason}). "
            f"{_IN_CACHE} {_OFFLINE}."
        ) from error


def _text(value: object, where: str) -> str:
    """TFDS gives bytes, the others text."""
    text = value.decode("utf-8") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{where}: {value!r} where question or answer is expected as text")
    return text
