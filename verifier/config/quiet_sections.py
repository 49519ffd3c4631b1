"""Knobs of a model that thinks before every token."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Mark, Range
from verifier.config.ranges import Amount, Count, Number, Rate, Steps, Tokens


@dataclasses.dataclass(frozen=True)
class QuietConfig:
    """Thoughts at every token of a text (Quiet-STaR, Zelikman et al. 2024); the defaults are those
    of the released training script.
    """

    # Text files (one document a line), .jsonl with a field "text", or a folder of them | generated:
    # texts in which a hidden intermediate result helps, beside texts in which nothing does
    corpus: Annotated[str, Mark.PATH, Mark.TEXTS] = ""
    generated_documents: Count = 10_000
    generated_worked: Annotated[float, Range(0, 1)] = 0.3  # of them, those that show their working
    # Of the documents, by a hash of their text; no model learns from them
    heldout_share: Annotated[float, Range(0, 1, above=True, below=True)] = 0.05
    watched_windows: Count = 64  # held-out ones that training is watched on, at most
    report_windows: Count = 64  # held-out ones whose every thought is stored and reported, at most
    report_thoughts: Count = 4  # drawn before each of their tokens
    # Workdirs of other runs on the same corpus, such as controls, to stand beside this one's report
    report_beside: tuple[str, ...] = ()
    # Tokens of a thought, its start and its end among them; 0: none, which is plain training
    thought_tokens: Number = 12
    # What stands between them: drawn, tokens that the model draws | pause, a learned token that is
    # no text, always the same: as much computation, and nothing said (a control)
    thought_source: Literal["drawn", "pause"] = "drawn"
    ahead: Count = 4  # tokens of the text behind a thought that it is judged by
    thoughts: Count = 2  # at each position, while training
    tokens: Tokens = 256  # of a window of the corpus
    # What the head mixes: hidden, states before the output matrix, as the released code does |
    # logprobs, what both give the text's own token, as the paper writes it
    mixing: Literal["hidden", "logprobs"] = "hidden"
    # A text of one token, whose embedding those of start and end begin as (published: the em dash).
    # Where it is several tokens, they begin as the mean of all embeddings
    marks_like: str = "—"
    # Embeddings of start and end are parameters times this, so that they move as much faster
    embedding_scale: Annotated[float, Range(0, 1_000_000, above=True)] = 100.0
    # What is taken off a reward: thoughts, the mean over those of the same position | none
    baseline: Literal["thoughts", "none"] = "thoughts"
    clamp: bool = True  # thoughts that are worse than the baseline are not unlearned
    # Logits of a thought's tokens are divided by it where their chance is raised
    reinforce_temperature: Annotated[float, Range(0, 1_000, above=True)] = 3.0
    policy_weight: Amount = 1_000_000.0  # of what raises the chance of good thoughts; 0: left out
    base_weight: Annotated[float, Range(0, 1)] = 0.5  # prediction without a thought; the rest: with
    # Stages of training, each from the model of the last one (Fast Quiet-STaR, Huang et al. 2025:
    # [16,12,8] with ahead [8,4,4] and rates [2e-6,1e-6,1e-6]): thought_tokens of each; empty: one
    # stage by the knobs above
    curriculum: tuple[Number, ...] = ()
    curriculum_ahead: tuple[Count, ...] = ()  # as many; empty: `ahead`
    curriculum_rates: tuple[Rate, ...] = ()  # as many; empty: finetune.learning_rate
    # Steps by which the base learns to do without thoughts what the last thinker does with them; 0:
    # it does not. Other knobs are those of finetune
    no_thought_steps: Steps = 0
    no_thought_windows: Count = 8000  # that the thinker reads for it, at most
    no_thought_start: Literal["base", "thinker"] = "base"  # the thinker: its decoder
    # Whose chance is raised: drawn, a token that the model draws, as the released code does | text,
    # the text's own, as the paper writes it
    no_thought_token: Literal["drawn", "text"] = "drawn"
