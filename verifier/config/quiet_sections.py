"""Knobs of a model that thinks before every token."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Range
from verifier.config.ranges import Amount, Count, Number, Tokens


@dataclasses.dataclass(frozen=True)
class QuietConfig:
    """Thoughts at every token of a text (Quiet-STaR, Zelikman et al. 2024); the defaults are those
    of the released training script.
    """

    # Tokens of a thought, its start and its end among them; 0: none, which is plain training
    thought_tokens: Number = 12
    ahead: Count = 4  # tokens of the text behind a thought that it is judged by
    thoughts: Count = 2  # at each position, while training
    tokens: Tokens = 256  # of a window of the corpus
    # What the head mixes: hidden, states before the output matrix, as the released code does |
    # logprobs, what both give the text's own token, as the paper writes it
    mixing: Literal["hidden", "logprobs"] = "hidden"
    # Embeddings of start and end are parameters times this, so that they move as much faster
    embedding_scale: Annotated[float, Range(0, 1_000_000, above=True)] = 100.0
    # What is taken off a reward: thoughts, the mean over those of the same position | none
    baseline: Literal["thoughts", "none"] = "thoughts"
    clamp: bool = True  # thoughts that are worse than the baseline are not unlearned
    # Logits of a thought's tokens are divided by it where their chance is raised
    reinforce_temperature: Annotated[float, Range(0, 1_000, above=True)] = 3.0
    policy_weight: Amount = 1_000_000.0  # of what raises the chance of good thoughts; 0: left out
    base_weight: Annotated[float, Range(0, 1)] = 0.5  # prediction without a thought; the rest: with
