"""A word problem, its id, and how it becomes a prompt and a target."""

from __future__ import annotations

import dataclasses
import hashlib
import string
import unicodedata

from verifier.errors import ProblemError
from verifier.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Problem:
    """One word problem; the same question has the same id wherever it was read."""

    problem_id: str
    question: str
    # The whole worked text, its last line `#### N` included; None where only the answer is known.
    solution: str | None
    answer: str
    source: str
    split: str


def make_problem(
    question: str, solution: str | None, answer: str, source: str, split: str
) -> Problem:
    """A problem with its id.

    Args:
        question: the text that is asked.
        solution: the worked solution with its last line `#### N`, or None.
        answer: the right answer, as the source writes it.
        source: name of the data set.
        split: "train", "heldout", "test", ...

    Raises:
        ProblemError: an empty question or answer.
    """
    for name, text in (("question", question), ("answer", answer)):
        if not text.strip():
            which = f"a problem of {source!r}, split {split!r}, question {question[:80]!r}"
            raise ProblemError(f"{which} has an empty {name}, {text!r}; drop it or mend it")
    return Problem(problem_id(question), question, solution, answer.strip(), source, split)


def problem_id(question: str) -> str:
    """First 16 hex digits of the SHA-256 of the question.

    The question in NFKC, runs of whitespace as one space, stripped.
    """
    normalised = " ".join(unicodedata.normalize("NFKC", question).split())
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Template:
    """How a problem is written: what the model is given and what it is to write.

    The end token is added by whoever encodes.
    """

    prompt: str = "{question}\n"
    target: str = "{solution}"

    def __post_init__(self) -> None:
        """Raises ProblemError for a template that lacks its field or has another one."""
        check_template("prompt", self.prompt, "question")
        check_template("target", self.target, "solution")

    def render_prompt(self, question: str) -> str:
        """What the model is given."""
        return self.prompt.format(question=question)

    def render_target(self, solution: str) -> str:
        """What the model is to write."""
        return self.target.format(solution=solution)


def prompt_ids(question: str, template: Template, tokenizer: Tokenizer) -> list[int]:
    """What a model is given, as tokens: the start ids and the rendered prompt."""
    return [*tokenizer.start_ids, *tokenizer.encode(template.render_prompt(question))]


def check_template(name: str, template: str, *fields: str) -> None:
    """A template names one of some fields exactly once, plainly.

    Raises:
        ProblemError: it does not, with what was expected.
    """
    wanted = " or ".join(f"{{{field}}}" for field in fields)
    way_out = f"write {wanted} exactly once, and {{{{ or }}}} for a brace of your own"
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ProblemError(
            f"the {name} template {template!r} cannot be read ({error}); {way_out}"
        ) from error
    named = [
        name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
        for _, name, form, conversion in parts
        if name is not None
    ]
    if len(named) != 1 or named[0] not in fields:
        raise ProblemError(
            f"the {name} template {template!r} has the fields {named}, expected "
            f"{' or '.join(str([field]) for field in fields)}; {way_out}"
        )
