"""How a stage puts problems to a model: plainly, or in one of the formats of `text.few_shot`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping

from verifier.run.context import Context
from verifier.run.stage import Input, Stage
from verifier.text.problem import Problem
from verifier.text.split import TRAIN
from verifier.text.tokenizer import Tokenizer

Put = Callable[[Problem], list[int]]


@dataclasses.dataclass(frozen=True)
class Prompting:
    """A way of putting problems, and what it depends on.

    Attributes:
        of: the way for a stage at work and a model's tokenizer: start ids and prompt of a problem.
        knobs: that it depends on, beside those of the stage.
        exemplars: whether it shows training problems with their solutions.
    """

    of: Callable[[Context, Tokenizer], Put]
    knobs: tuple[str, ...] = ()
    exemplars: bool = False

    def reads(self, problems: Stage) -> Mapping[str, Input]:
        """What a stage reads for it, by role."""
        return {"exemplars": problems.of(TRAIN)} if self.exemplars else {}


def _plain(context: Context, tokenizer: Tokenizer) -> Put:
    return functools.partial(context.prompt_ids, tokenizer=tokenizer)


PLAIN = Prompting(_plain)  # by `data.prompt_template`
