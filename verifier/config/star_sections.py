"""Knobs of a model that learns from its own right solutions."""

from __future__ import annotations

import dataclasses
from typing import Literal

from verifier.config.distill_sections import Format
from verifier.config.ranges import Amount, Count, Number


@dataclasses.dataclass(frozen=True)
class StarConfig:
    """Loops of a model that is taught by its own right solutions (STaR, Zelikman et al. 2022).

    Solutions of the training problems are drawn as `sample` says: greedily, as published, with
    sample.temperature=0 and sample.train_samples=1.
    """

    loops: Count = 4  # at most; more may be asked for later
    # Loops in a row without a rise of training accuracy, after which later ones do nothing; 0: all
    # are done
    plateau: Number = 1
    # How problems are put to the base; plain: by data.prompt_template. With exemplars: those of
    # distill.exemplars, distill.teacher_shots of them. Later loops are asked plainly.
    first: Literal["plain", Format] = "plain"
    # Problems that are not solved are put again with their answer as a hint.
    rationalise: bool = True
    # What takes the place of the question then. Words of it that a solution repeats show that the
    # hint was copied, and such a solution is not learned: take words that no other one has.
    hint: str = "{question} (The answer is {answer}.)"
    start: Literal["base", "last"] = "base"  # what each loop trains: the base | the last loop's
    growth: Amount = 0.2  # by which finetune.steps grow a loop
    deduplicate: bool = True  # right solutions of a problem that read alike are learned once
    # Right solutions of fewer different words are left out: bare answers, which a hint invites. 0:
    # none are
    fewest_words: Number = 0
