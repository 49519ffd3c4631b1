"""finetune of a base that loops may start from: worked solutions of problems that are put plainly
and, once more, with their answers as a hint.
"""

from __future__ import annotations

import dataclasses

from verifier.data.self_taught import Hint
from verifier.run.context import Context
from verifier.run.stage import Job, Stage
from verifier.stages import finetune, fitting, hints
from verifier.stages.fitting import Examples
from verifier.text.tokenizer import Tokenizer


def stage(problems: Stage, place: str = "") -> Stage:
    """The base, from `model.weights` or random weights."""
    plain = finetune.stage(problems, place)
    return dataclasses.replace(plain, do=_finetune, knobs=(*plain.knobs, "star.hint"))


def _finetune(context: Context) -> None:
    train, heldout = context.problems("problems"), context.problems("heldout_problems")
    hint = Hint(context.config.star.hint)
    both = [*train, *(hints.with_answer(each, hint) for each in train)]

    def examples(job: Job, tokenizer: Tokenizer) -> Examples:
        config = job.section(context.config)
        watched = fitting.ground_truth(context, heldout, tokenizer, config)
        return Examples(fitting.ground_truth(context, both, tokenizer, config), watched)

    finetune.make_generator(context, train, examples)
