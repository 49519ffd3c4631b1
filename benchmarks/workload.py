"""What is put to every contender: one model folder, prompts of GSM8K, solutions, packed rows.

Knows tokens; no device.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.contenders import ROOT
from verifier.config import DataConfig
from verifier.data import batches
from verifier.errors import UserError
from verifier.tasks import sources
from verifier.text.problem import Problem, Template, prompt_ids
from verifier.text.tokenizer import Tokenizer, load_tokenizer
from verifier.train.losses import lm


class Question(NamedTuple):
    """A problem as a contender sees it."""

    problem_id: str
    prompt: list[int]


def hugging_face_folder(model: pathlib.Path, cache: pathlib.Path) -> pathlib.Path:
    """The folder that all contenders read: `model` itself, or, where that is a generator of this
    project, its export in the cache.

    Raises:
        UserError: neither.
    """
    if (model / "config.json").is_file():
        return model
    if not (model / "manifest.json").is_file():
        raise UserError(
            f"--model={model} is no Hugging Face folder and no generator folder; give one of them"
        )
    folder = cache / "model" / json.loads((model / "manifest.json").read_text())["id"]
    if not (folder / "config.json").is_file():
        subprocess.run(
            [sys.executable, "-m", "verifier.export", f"--model={model}", f"--to={folder}"],
            cwd=ROOT,
            check=True,
        )
    return folder


def tokenizer_of(model: pathlib.Path) -> Tokenizer:
    """The tokenizer of a Hugging Face folder."""
    return load_tokenizer(model)


def problems(source: str, folder: str = "") -> dict[str, list[Problem]]:
    """The problems of a source by split, in their order; an empty folder stands for the one that
    the environment names (GSM8K_DIR, SVAMP_DIR, ...).
    """
    return sources.SOURCES[source](DataConfig(dir=folder), 0)


def questions(found: Sequence[Problem], tokenizer: Tokenizer, count: int) -> list[Question]:
    """The prompts of the first `count` problems, written as a run writes them.

    Raises:
        UserError: there are not so many.
    """
    if len(found) < count:
        raise UserError(f"--problems={count}, but there are only {len(found)}; ask for fewer")
    template = Template()
    return [
        Question(each.problem_id, prompt_ids(each.question, template, tokenizer))
        for each in found[:count]
    ]


def long_prompt(found: Sequence[Problem], tokenizer: Tokenizer, tokens: int) -> list[int]:
    """A prompt of exactly so many tokens: solved problems one after the other, as a few-shot prompt
    has them, cut at its start.
    """
    ids: list[int] = []
    for each in found:
        ids = [*tokenizer.encode(f"{each.question}\n{each.solution or ''}\n\n"), *ids]
        if len(ids) >= tokens:
            return ids[-tokens:]
    raise UserError(
        f"all problems together have {len(ids)} tokens, not the {tokens} that were asked for; "
        "ask for fewer"
    )


class Drawn(NamedTuple):
    """Stored solutions of some questions."""

    questions: list[Question]
    solutions: list[list[list[int]]]  # tokens, the end token included where it came


def write_drawn(path: pathlib.Path, drawn: Drawn) -> None:
    """Keeps solutions for a later run."""
    rows = [
        {**question._asdict(), "solutions": each}
        for question, each in zip(drawn.questions, drawn.solutions, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")


def read_drawn(path: pathlib.Path, problem_count: int, samples: int) -> Drawn:
    """The first problems and solutions of a file that `write_drawn` wrote.

    Raises:
        UserError: it holds fewer than that.
    """
    if not path.is_file():
        raise UserError(
            f"there are no stored solutions at {path}; run benchmarks.sampling first, or name "
            "them with --solutions"
        )
    rows = [json.loads(line) for line in path.read_text().splitlines()][:problem_count]
    if len(rows) < problem_count or any(len(row["solutions"]) < samples for row in rows):
        raise UserError(
            f"{path} holds fewer than {problem_count} problems of {samples} solutions; ask for "
            "fewer or sample more"
        )
    asked = [Question(row["problem_id"], row["prompt"]) for row in rows]
    return Drawn(asked, [row["solutions"][:samples] for row in rows])


def packed_rows(
    found: Sequence[Problem], tokenizer: Tokenizer, rows: int, row_tokens: int, steps: int
) -> list[batches.Batch]:
    """The first batches that fine-tuning would see: packed rows, the loss on solutions alone.

    Raises:
        UserError: the problems do not fill so many steps.
    """
    examples = []
    for each in found:
        if each.solution:
            tokens = batches.encode_problem(each, tokenizer, Template())
            examples.append(
                batches.lm_example(
                    *tokens, loss_on_question=False, loss_on_forced=True, name=each.problem_id
                )
            )
    spec = batches.BatchSpec(rows, row_tokens, lm.TARGETS)
    stream = batches.BatchStream(examples, 0, spec)
    if len(stream) < steps:
        raise UserError(
            f"{len(examples)} problems fill {len(stream)} steps, not {steps}; ask for fewer "
            "steps or smaller ones"
        )
    return [next(stream) for _ in range(steps)]


_ARRAYS = ("tokens_BT", "positions_BT", "ends_BT")


def write_rows(path: pathlib.Path, packed: Sequence[batches.Batch]) -> None:
    """Stores batches as one npz whose arrays run over the steps."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.stack([getattr(batch, name) for batch in packed]) for name in _ARRAYS}
    targets = {
        f"{name}_BT": np.stack([batch.targets[name] for batch in packed])
        for name in packed[0].targets
    }
    np.savez(path, **arrays, **targets)


def read_rows(path: str, first: int, steps: int) -> list[batches.Batch]:
    """Returns `steps` of the batches that `write_rows` stored, from number `first` on."""
    stored = np.load(path)
    targets = [name for name in stored if name not in _ARRAYS]
    return [
        batches.Batch(
            *(stored[name][index] for name in _ARRAYS),
            {name.removesuffix("_BT"): stored[name][index] for name in targets},
        )
        for index in range(first, first + steps)
    ]


def example_lengths(batch: batches.Batch) -> list[int]:
    """Tokens of each example of a batch, each of which is one text."""
    row_M, column_M = np.nonzero((batch.positions_BT == 0) & (batch.ends_BT > 0))
    return [int(length) for length in batch.ends_BT[row_M, column_M] - column_M]
