"""Examples of a label and of the rationale behind it, as two tasks or as one text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from verifier.data.examples import Example, encode_solution, lm_example
from verifier.text.answer_lines import STATES, ended
from verifier.text.problem import Problem, Template, prompt_ids
from verifier.text.tokenizer import Tokenizer


class Explained(NamedTuple):
    """A problem with its label, and why that is so."""

    problem: Problem
    label: str
    rationale: str | None  # None: not known


class Asked(NamedTuple):
    """How each is asked for, and what a text that holds both is like."""

    predict: Template
    explain: Template
    both: Template  # of a label alone, too


def two_tasks(
    explained: Sequence[Explained], asked: Asked, tokenizer: Tokenizer
) -> Iterator[Example]:
    """A label and a rationale of each, as examples of their own for `train.losses.two_tasks`.

    Example k of a label and example k of a rationale are of one problem; one whose rationale is not
    known has its label alone.
    """
    for each in explained:
        yield _example(each, each.label, asked.predict, tokenizer, "predict")
        if each.rationale is not None:
            yield _example(each, each.rationale, asked.explain, tokenizer, "explain")


def one_text(
    explained: Sequence[Explained], asked: Asked, tokenizer: Tokenizer
) -> Iterator[Example]:
    """Rationale and label as one text, for `train.losses.lm` (the paper's single task). The words
    between the two are some that every grader looks for.
    """
    for each in explained:
        whole = ended(each.rationale or "", STATES, each.label)
        yield _plain_example(each, whole, asked, tokenizer)


def label_alone(
    explained: Sequence[Explained], asked: Asked, tokenizer: Tokenizer
) -> Iterator[Example]:
    """The label of each and nothing beside it, for `train.losses.lm` (the paper's standard
    finetuning, and with a teacher's labels its standard distillation).
    """
    for each in explained:
        yield _plain_example(each, each.label, asked, tokenizer)


def _plain_example(each: Explained, text: str, asked: Asked, tokenizer: Tokenizer) -> Example:
    """A text behind the question, which no word tells apart from others."""
    prompt, target, forced = _encoded(each, text, asked.both, tokenizer)
    return lm_example(
        prompt,
        target,
        forced,
        loss_on_question=False,
        loss_on_forced=True,
        name=each.problem.problem_id,
    )


def _example(
    each: Explained, text: str, template: Template, tokenizer: Tokenizer, task: str
) -> Example:
    prompt, target, forced = _encoded(each, text, template, tokenizer)
    made = lm_example(
        prompt,
        target,
        forced,
        loss_on_question=False,
        loss_on_forced=True,
        name=f"{each.problem.problem_id}/{task}",
    )
    targets = dict(made.targets)
    targets[f"{task}_weight"] = targets.pop("lm_weight")
    return made._replace(targets=targets)


def _encoded(
    each: Explained, text: str, template: Template, tokenizer: Tokenizer
) -> tuple[list[int], list[int], list[bool]]:
    prompt = prompt_ids(each.problem.question, template, tokenizer)
    return prompt, *encode_solution(template.render_target(text), tokenizer)
