"""Questions with exemplars before them, in the four formats of Fu et al. 2023 (section 4, and
data_utils.py of their code).

What the paper gives an encoder is the prompt here, what its decoder writes is the target, each
without the white space where the two meet: a model that only decodes reads them as one text.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import re
import typing
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from verifier.config import DistillConfig
from verifier.config import Format as FormatName
from verifier.errors import DataError, ProblemError
from verifier.system.text_files import jsonl_rows, text_field
from verifier.text.answer_lines import MARK, STATES, ended
from verifier.text.problem import Problem, check_template

_ANNOTATION = re.compile("<<.*?>>")
_STATED = re.compile(rf"{STATES} +([^\n]+?)\.?$", re.MULTILINE)


class Exemplar(NamedTuple):
    """A question that is answered before another one is asked."""

    question: str
    solution: str  # worked, with the answer as its last line
    answer: str


@dataclasses.dataclass(frozen=True)
class Format:
    """A way to put a question and to answer it.

    Attributes:
        prompt: what the model is given, with `{question}`.
        target: what it writes, with `{solution}` or with `{answer}` alone.
        shots: exemplars before the question.
        between: what follows each of them.
    """

    prompt: str
    target: str
    shots: int = 0
    between: str = "\n\n"

    def __post_init__(self) -> None:
        """Raises ProblemError for a template without its field, or with another one."""
        check_template("prompt", self.prompt, "question")
        check_template("target", self.target, "solution", "answer")

    @property
    def is_worked(self) -> bool:
        """Whether solutions are written, not the answer alone."""
        return "{solution}" in self.target

    def render_prompt(self, question: str, exemplars: Sequence[Exemplar] = ()) -> str:
        """What the model is given.

        Raises:
            ProblemError: another number of exemplars than `shots`.
        """
        if len(exemplars) != self.shots:
            raise ProblemError(
                f"{len(exemplars)} exemplars for a format with {self.shots}; expected as many"
            )
        before = (
            self.prompt.format(question=each.question) + self.render_target(*each[1:])
            for each in exemplars
        )
        return "".join(
            [*(text + self.between for text in before), self.prompt.format(question=question)]
        )

    def render_target(self, solution: str, answer: str) -> str:
        """What the model writes."""
        return self.target.format(solution=solution, answer=answer)


def formats(config: DistillConfig) -> dict[str, Format]:
    """The four formats by name, as `distill.prompts`, `targets` and `between` have them; those with
    exemplars show `distill.shots`.

    Raises:
        ProblemError: a template too few or too many, without its field or with another one, or an
            answer alone where a worked solution belongs.
    """
    names = typing.get_args(FormatName)
    for knob in ("prompts", "targets"):
        if len(getattr(config, knob)) != len(names):
            raise ProblemError(
                f"distill.{knob} has {len(getattr(config, knob))} templates; expected one for each "
                f"of {', '.join(names)}"
            )
    made = {}
    for name, prompt, target in zip(names, config.prompts, config.targets, strict=True):
        shots = config.shots if name.startswith("in_context") else 0
        made[name] = Format(prompt, target, shots, config.between)
        if made[name].is_worked != name.endswith("chain_of_thought"):
            raise ProblemError(
                f"distill.targets: {target!r} of {name}; expected {{solution}} in those with a "
                "chain of thought, and {answer} alone in the others"
            )
    return made


FORMATS = formats(DistillConfig())  # the paper's


def worked(solution: str, annotations: bool = False) -> str:
    """A solution of GSM8K as these formats write it: its last line is `The answer is N`.

    Args:
        solution: with or without a last line `#### N`; without one it stays as it is.
        annotations: whether the calculator's annotations (`<<3*6=18>>`) stay in it.
    """
    text = solution if annotations else _ANNOTATION.sub("", solution)
    steps, mark, answer = text.rpartition(MARK)
    return f"{steps}{STATES} {answer.strip()}" if mark else text


class Pool:
    """Problems that exemplars are drawn from; their order counts for nothing."""

    def __init__(self, problems: Iterable[Problem], annotations: bool = False) -> None:
        """Keeps those with a worked solution; `annotations` as `worked` has it."""
        known = {each.problem_id: each for each in problems if each.solution is not None}
        self._problems = [known[problem_id] for problem_id in sorted(known)]
        self._ids = frozenset(known)
        self._annotations = annotations

    def __len__(self) -> int:
        return len(self._problems)

    def draw(self, problem_id: str, count: int, seed: int, salt: str = "") -> list[Exemplar]:
        """Exemplars for a problem: uniform, without replacement, never the problem itself.

        They depend on the pool, the seed, the problem's id and the salt alone, and fewer of them
        are the first of more.

        Raises:
            DataError: there are not so many.
        """
        others = len(self) - (problem_id in self._ids)
        if count > others:
            raise DataError(
                f"{count} exemplars for problem {problem_id} of {others} others with a worked "
                "solution; ask for fewer, or give a pool with more problems"
            )
        drawn: dict[int, Exemplar] = {}
        turn = 0
        while len(drawn) < count:
            key = hashlib.sha256(f"exemplar/{seed}/{problem_id}{salt}/{turn}".encode()).digest()
            index = int.from_bytes(key) % len(self)
            turn += 1
            each = self._problems[index]
            if each.problem_id != problem_id:  # one that is drawn again stays where it is
                assert each.solution is not None  # see __init__
                text = worked(each.solution, self._annotations)
                drawn[index] = Exemplar(each.question, text, each.answer)
        return list(drawn.values())


def read_exemplars(path: pathlib.Path, annotations: bool = False) -> list[Exemplar]:
    """Exemplars from a file, in its order.

    Args:
        path: JSON lines with `question` and `solution`, and `answer` where the solution does not
            end in one (`#### N` or `The answer is N`).
        annotations: as `worked` has it.

    Raises:
        DataError: the file cannot be read, or a line is not as expected; file and line are named.
    """
    exemplars = []
    for row, where in jsonl_rows(path):
        solution = worked(text_field(row, "solution", where), annotations)
        stated = _STATED.findall(solution)
        if not stated and "answer" not in row:
            raise DataError(
                f"{where}: the solution ends in {solution[-40:]!r}; expected a last line "
                f"'{MARK} N' or '{STATES} N', or a field 'answer'"
            )
        answer = text_field(row, "answer", where) if "answer" in row else stated[-1]
        if not stated:
            solution = ended(solution.rstrip(), STATES, answer.strip())
        exemplars.append(Exemplar(text_field(row, "question", where), solution, answer.strip()))
    return exemplars
