"""BIG-Bench Hard (Suzgun et al. 2022), for testing only: 27 tasks, and prompts with exemplars.

https://github.com/suzgunmirac/BIG-Bench-Hard (MIT licence). Of its 6,511 examples two repeat one
before them, and two questions of causal_judgement have two answers each and are left out: 6,505
problems.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing
from collections.abc import Sequence

from verifier.config import BbhTask
from verifier.errors import DataError
from verifier.system.text_files import field, read_json, read_text, text_field
from verifier.tasks.local_files import find_folder
from verifier.tasks.word_problems import with_one_answer
from verifier.text.few_shot import Exemplar
from verifier.text.problem import Problem, make_problem, problem_id

TASKS = typing.get_args(BbhTask)
SOURCE = "bbh/"  # before the name of the task, in what its problems call their source
_REPOSITORY = "https://github.com/suzgunmirac/BIG-Bench-Hard"
_RULE = "-----\n"  # behind the line that asks not to train on the file
_QUESTION = re.compile(r"^Q: ", re.MULTILINE)
_ANSWER = re.compile(r"^A: ?", re.MULTILINE)
_STATED = re.compile(r"the answer is (.+?)\.?[ \t]*$", re.MULTILINE)


def load_bbh(folder: str = "", tasks: Sequence[str] = ()) -> dict[str, list[Problem]]:
    """The problems of some tasks as "test", the `source` of each `bbh/TASK`; "train" is empty.

    Args:
        folder: the one with a file TASK.json for each task; empty: the environment variable
            BBH_DIR.
        tasks: names in `TASKS`; empty: all of them.

    Raises:
        DataError: a file is missing or not in the format of BIG-Bench Hard.
    """
    names = tasks or TASKS
    files = [f"{name}.json" for name in names]
    root = find_folder(folder, "BBH_DIR", files, f"{_REPOSITORY}, folder bbh")
    problems = [
        problem for name in names for problem in _problems(root / f"{name}.json", SOURCE + name)
    ]
    return {"train": [], "test": sorted(problems, key=lambda each: each.problem_id)}


def _problems(path: pathlib.Path, source: str) -> list[Problem]:
    """Those of a task, where a question has one target only."""
    rows = field(read_json(path), "examples", str(path))
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{path}: 'examples' is no list with an entry; fetch the file again")
    problems = []
    for number, row in enumerate(rows):
        where = f"{path}, example {number}"
        question, target = (text_field(row, name, where) for name in ("input", "target"))
        problems.append(make_problem(question, None, target, source=source, split="test"))
    return with_one_answer(problems, source)


@dataclasses.dataclass(frozen=True)
class TaskPrompt:
    """What goes before the questions of a task.

    Attributes:
        text: the prompt as it lies, without the lines that ask not to train on it.
        description: what the task is, in words.
        exemplars: its questions with their worked answers.
    """

    text: str
    description: str
    exemplars: Sequence[Exemplar]

    def chain_of_thought(self, question: str) -> str:
        """The prompt for a worked answer; one of its exemplars ends in "So the answer is (A)."."""
        text, shown = self.text, self._others(question)
        if len(shown) < len(self.exemplars):
            worked = [f"Q: {each.question}\nA: {each.solution}" for each in shown]
            text = "\n\n".join([self.description, *worked])
        return f"{text}\n\nQ: {question}\nA: Let's think step by step.\n"

    def answer_only(self, question: str) -> str:
        """The prompt for an answer alone: of every exemplar its question and its answer.

        The released code of Fu et al. 2023 keeps the first exemplar and the beginning of the
        second, work included; here all three are there and none is worked.
        """
        shown = [
            f"Q: {each.question}\nA: the answer is {each.answer}."
            for each in self._others(question)
        ]
        return "\n\n".join([self.description, *shown, f"Q: {question}\nA:"])

    def _others(self, question: str) -> list[Exemplar]:
        """The exemplars but for the question itself, which is never shown with its answer."""
        own = problem_id(question)
        return [each for each in self.exemplars if problem_id(each.question) != own]


def load_task_prompts(folder: str, tasks: Sequence[str] = ()) -> dict[str, TaskPrompt]:
    """The prompts that were made for the tasks.

    Args:
        folder: the one with a file TASK.txt for each task, cot-prompts of the repository.
        tasks: names in `TASKS`; empty: all of them.

    Raises:
        DataError: a file is missing, or has no exemplar with a question and an answer.
    """
    names = tasks or TASKS
    files = [f"{name}.txt" for name in names]
    root = find_folder(folder, "BBH_PROMPTS_DIR", files, f"{_REPOSITORY}, folder cot-prompts")
    return {name: _task_prompt(root / f"{name}.txt") for name in names}


def _task_prompt(path: pathlib.Path) -> TaskPrompt:
    content = read_text(path, DataError)
    _, rule, below = content.partition(_RULE)
    text = (below if rule else content).strip()
    description, *parts = _QUESTION.split(text)
    exemplars = []
    for number, part in enumerate(parts, start=1):
        question, *answer = _ANSWER.split(part.strip(), 1)
        stated = _STATED.findall(answer[0]) if answer else []
        if not stated:
            raise DataError(
                f"{path}, exemplar {number}: {part.strip()[-40:]!r}; expected a question, a line "
                "that begins with 'A: ', and an answer that ends in 'the answer is X.'; fetch the "
                f"file again from {_REPOSITORY}, folder cot-prompts"
            )
        exemplars.append(Exemplar(question.rstrip(), answer[0].strip(), stated[-1]))
    if not exemplars:
        raise DataError(
            f"{path} has no line that begins with 'Q: '; expected a few questions with their "
            f"answers; fetch the file again from {_REPOSITORY}, folder cot-prompts"
        )
    return TaskPrompt(text, description.strip(), exemplars)
