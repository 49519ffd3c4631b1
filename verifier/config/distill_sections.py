"""Knobs of what a student learns from a teacher's solutions."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Range


@dataclasses.dataclass(frozen=True)
class DistillConfig:
    """A student that learns from a teacher's solutions (Fu et al. 2023, section 3)."""

    # match_sample: cross-entropy of the teacher's text | match_distribution: divergence from the
    # likeliest ids that it has told of every token | match_spans: its probability of every span of
    # text that both sides end alike (ALM)
    loss: Literal["match_sample", "match_distribution", "match_spans"] = "match_distribution"
    # How the teacher's tokens become the student's. same: they are equal | dtw: dynamic time
    # warping, as published | bytes: a walk along the bytes | auto: same where it can be, else bytes
    align: Literal["auto", "same", "dtw", "bytes"] = "auto"
    # match_distribution: the chances of a token's ids are made to sum to 1; false: as published
    renormalise: bool = False
    # match_spans: log-probabilities of spans are divided by it
    tau: Annotated[float, Range(0, 1_000_000, above=True)] = 100.0
    # match_spans: tokens: a span weighs as many as the student has in it | spans: each the same
    normalise: Literal["tokens", "spans"] = "spans"
