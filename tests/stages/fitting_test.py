"""What a training job says of its examples."""

from __future__ import annotations

import numpy as np

from verifier.data.examples import Example, Target
from verifier.stages import fitting
from verifier.train.losses.contract import Loss, LossPart


def test_each_part_of_any_loss_is_said_with_its_share_of_the_tokens():
    parts = {"lm": LossPart(1.0, "lm_weight"), "imitation": LossPart(0.5, "teacher_weight")}
    loss = Loss({part.weight: Target() for part in parts.values()}, parts, "lm", lambda *_: {})
    examples = [
        Example(np.arange(5), {"lm_weight": np.array([0, 1, 1, 0.5, 0])}),
        Example(np.arange(5), {"teacher_weight": np.array([0, 0, 0, 2, 0])}),
    ]
    assert fitting.amounts(examples, 3, loss) == (
        "2 examples, 10 tokens, 3 steps; supervised tokens: 30% by lm, 10% by imitation"
    )
