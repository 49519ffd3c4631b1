"""Knobs of the training jobs."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Mark, Range
from verifier.config.ranges import Amount, Count, Epochs, Number, Rate, Share, Steps, Tokens


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Optimisation of one training job."""

    epochs: Epochs = 1.0  # passes over the examples
    # Optimiser steps, with as many passes over the examples as they take; then without `epochs`. 0:
    # by `epochs`.
    steps: Steps = 0
    batch_rows: Count = 32  # packed rows a step, over all micro-batches and hosts
    row_tokens: Tokens = 512  # tokens of a packed row; of an encoder's, too
    # Micro-batches a step; divides batch_rows; the losses are the same but for dropout, which each
    # draws for itself.
    accumulate: Count = 1
    learning_rate: Rate = 1e-5  # peak
    # Share of all steps that the rate rises linearly; then it falls linearly to 0.
    warmup_share: Share = 0.02
    beta1: Share = 0.9
    beta2: Share = 0.95
    weight_decay: Amount = 0.0
    clip_norm: Amount = 1.0  # global norm of the gradient; 0: off
    # Residual dropout: on the output of every attention and MLP before it joins the residual stream
    dropout: Share = 0.0
    dropout_ramp: Share = 0.0  # share of all steps in which it rises linearly; 0: there at once
    # Recompute each layer's activations in the backward pass: less memory, a third more work.
    remat: Annotated[bool, Mark.NO_EFFECT] = False
    loss_on_question: bool = False  # the language-model loss counts the question's tokens too
    loss_on_forced: bool = True  # the losses count tokens that the calculator writes
    # Steps between evaluations on held-out problems; 0: at the end of an epoch.
    eval_every: Steps = 0
    patience: Steps = 0  # evaluations without improvement before it stops; 0: never stops early
    # Between two checkpoints, written while training goes on (on a CPU it waits for them); 0: off.
    checkpoint_minutes: Annotated[Amount, Mark.NO_EFFECT] = 5.0
    # Steps between two checkpoints; 0: by time alone.
    checkpoint_every: Annotated[Steps, Mark.NO_EFFECT] = 0
    keep_checkpoints: Annotated[Count, Mark.NO_EFFECT] = (
        2  # the newest ones, beside the best so far
    )

    @property
    def has_work(self) -> bool:
        """Whether the job takes any step."""
        return bool(self.epochs or self.steps)


@dataclasses.dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """Extra language-model training before fine-tuning, with dropout.

    For models that were trained without it (Cobbe et al. 2021, section 5.2).
    """

    epochs: Epochs = 0.0  # 0: none
    # A text file, one document a line, or JSONL with a field "text"; empty: the training problems,
    # every token counted.
    corpus: Annotated[str, Mark.PATH, Mark.TEXTS] = ""
    loss_on_question: bool = True


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(TrainConfig):
    """The generator: cross-entropy on ground-truth solutions (Cobbe et al. 2021, section 4.1).

    2 epochs for sampling: section 4.2.
    """

    epochs: Epochs = 2.0  # 0: none
    # What is learned of a teacher's solutions (recipe distill). match_sample: cross-entropy, as of
    # any solution | match_distribution: divergence from the likeliest ids that it has told of every
    # token | match_spans: its probability of every span of text that both sides end alike (ALM)
    loss: Literal["match_sample", "match_distribution", "match_spans"] = "match_sample"


@dataclasses.dataclass(frozen=True)
class VerifyConfig(TrainConfig):
    """The verifier: value and language-model loss (Cobbe et al. 2021, section 4.2, Appendix B)."""

    # reserved_logit: gain and bias on a reserved token's logit
    head: Literal["reserved_logit", "linear"] = "reserved_logit"
    # token: every solution token carries the label | solution: only the last one does, or the last
    # one of each step where steps have labels
    level: Literal["token", "solution"] = "token"
    # outcome: each sample's own label | prefix: at every token the share of right ones among the
    # problem's samples that begin alike | the others: of steps, out of rollouts
    labels: Literal["outcome", "prefix", "hard", "soft", "first_error"] = "outcome"
    value_loss: Literal["mse", "bce"] = "mse"
    # tokens: mean over all of a batch | solutions: each weighs the same
    normalise: Literal["tokens", "solutions"] = "tokens"
    lm_weight: Amount = 1.0  # of the language-model loss on ground truth; 0: verification only
    init: Literal["generator", "base"] = "generator"  # whose weights the verifier starts from
    # With init=base, another base model than the generator's: Hugging Face folder or hub id; empty:
    # model.weights.
    weights: Annotated[str, Mark.WEIGHTS] = ""
    # Peak rate of the value head's own parameters; 0: learning_rate.
    head_learning_rate: Annotated[float, Range(0, 10)] = 0.0
    samples_per_problem: Number = 0  # labelled samples of a problem that are used; 0: all
    # Training problems whose labelled samples are used, those of the smallest ids, which are hashes
    # of the questions: what more problems add is beside what fewer had; 0: all.
    problems: Number = 0
    # Samples of a problem that are read as one tree, where what they have in common stands once
    # (and drops out alike); 1: each by itself; 0: all of a problem. The losses are the same.
    group: Number = 1
    deduplicate: bool = False  # drop samples of a problem that repeat another one's tokens
    # Allow samples of another generator than the workdir's; these are read as text.
    other_generator: bool = False


@dataclasses.dataclass(frozen=True)
class DpoConfig(TrainConfig):
    """A verifier by preferences: the last generator, which learns from pairs of a right and a wrong
    solution which is likelier (DPO, Rafailov et al. 2023, as V-STaR, Hosseini et al. 2024).
    """

    learning_rate: Rate = 1e-6  # peak
    beta: Annotated[float, Range(0, 1_000, above=True)] = 0.1  # how far it may leave the generator
    # Pairs of a problem, which take its right and its wrong solutions evenly; 0: each right one
    # with each wrong one, as published
    pairs: Number = 0
    deduplicate: bool = True  # solutions of a problem that repeat another one's tokens are left out
    # What a solution scores. likelihood: its log-likelihood, as published | ratio: less that under
    # the generator, which is what training raises
    score: Literal["ratio", "likelihood"] = "ratio"
