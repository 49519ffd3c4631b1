"""failures: problems that a model has not solved, and how they are put to it again with the answer
as a hint (rationalization in Zelikman et al. 2022, section 3.2).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from verifier.data.self_taught import Hint
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import label, sample
from verifier.stages.prompting import EXEMPLARS, Prompting, Put
from verifier.system import log
from verifier.tables import store, verdicts
from verifier.tables.results import Table
from verifier.tasks import sources
from verifier.text.problem import Problem
from verifier.text.split import TRAIN
from verifier.text.tokenizer import Tokenizer

FAILURES = Table("problems", "failures")


def failures(problems: Stage, labels: Stage, place: str) -> Stage:
    """The training problems of which no solution is right, as problems of a place of their own,
    with the answers that solutions are graded by.
    """
    return Stage(
        _write_failures,
        makes=FAILURES,
        splits=(TRAIN,),
        reads={"labels": labels.of(TRAIN), "problems": problems.of(TRAIN)},
        place=place,
        by_one=True,
    )


def with_hints(model: Stage, failed: Stage, problems: Stage, put: Prompting, place: str) -> Stage:
    """Solutions of failed problems, whose questions have the answer behind them.

    Args:
        model: that draws.
        failed: as `failures` has them.
        problems: of the run, among which exemplars are.
        put: how it is asked otherwise.
        place: where they are kept.
    """
    stage = sample.stage(model, failed, (TRAIN,), place, _hinted(put))
    shown = {EXEMPLARS: problems.of(TRAIN)} if put.exemplars else {}
    return dataclasses.replace(stage, reads={**stage.reads, **shown})


def _write_failures(context: Context) -> None:
    context.refuse_stale("labels", TRAIN)
    settings, folder = context.settings(TRAIN), context.folder(TRAIN)
    if context.is_done(settings, TRAIN):
        return
    right = verdicts.solved(context.source("labels"))
    failed = [each for each in context.problems("problems") if right.get(each.problem_id) is False]
    # A hint that a solution would be judged wrong by teaches nothing.
    put = label.with_right_answers(context, failed)
    table = store.TableWriter(folder, "problems", settings)
    if not table.present():
        table.append(sources.problems_table(put))
    table.finish({})
    log.say(f"{context.title(TRAIN)}: {len(failed):,} of {len(right):,} problems have failed")


class _Shown(Context):
    """A stage's context, whose exemplars have their answers behind the question, too."""

    def problems(self, role: str, split: Any = None) -> list[Problem]:
        found = super().problems(role, split)
        if role != EXEMPLARS:
            return found
        hint = Hint(self.config.star.hint)
        return [with_answer(each, hint) for each in found]


def _hinted(put: Prompting) -> Prompting:
    """A way of putting problems, with the answer behind the question."""

    def of(context: Context, tokenizer: Tokenizer) -> Put:
        hint = Hint(context.config.star.hint)
        shown = _Shown(context.config, context.root, context.stage, context.stages)
        plain = put.of(shown, tokenizer)
        return lambda problem: plain(with_answer(problem, hint))

    return dataclasses.replace(put, of=of, knobs=(*put.knobs, "star.hint"))


def with_answer(problem: Problem, hint: Hint) -> Problem:
    """A problem whose question has the answer behind it."""
    return dataclasses.replace(problem, question=hint.put(problem.question, problem.answer))
