"""Knobs of what searches: trees of partial solutions, and rollouts from their steps."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from verifier.config.kinds import Mark, Range
from verifier.config.ranges import Amount, Count, Number

SearchMethod = Literal["sample", "beam", "dvts", "lookahead", "rain"]


@dataclasses.dataclass(frozen=True)
class RolloutsConfig:
    """Solutions that go on from the ends of stored samples' steps; drawn as `sample` says."""

    number: Count = 8  # from the end of each step
    temperature: Annotated[float, Range(0.01, 100)] = 1.0
    step_end: str = "\n"  # what a step ends with, whether the generator or the calculator wrote it
    samples_per_problem: Number = 0  # whose steps are rolled out; 0: of all


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Search for solutions of test problems, guided by the verifier; drawn as `sample` says."""

    # sample: no search, best of as many plain samples | beam: OVM | dvts: independent subtrees |
    # lookahead: beam whose steps are judged by what they lead to | rain: `rain`, at one budget
    methods: tuple[SearchMethod, ...] = ("sample", "beam", "dvts")
    budgets: tuple[Count, ...] = (4, 16, 64)  # candidates of a step
    branching: Count = 4  # candidates to each that goes on; divides every budget
    # What a step ends with. Where the calculator writes nobody looks for it: not a digit, `.`, `-`,
    # `=` or `>` last while sample.calculator is on.
    step_end: str = "\n"
    max_steps: Count = 10  # after so many, solutions are written to their ends
    step_tokens: Number = 0  # most tokens of a step; 0: as many as a solution may have
    scorer: Literal["value", "logprob", "constant"] = "value"
    aggregation: Literal["last", "mean", "min", "product"] = "last"  # of values, with scorer=value
    distinct: bool = False  # beam and lookahead: distinct texts go before repeats
    ahead: Count = 1  # lookahead: greedy steps behind each
    test_problems: Number = 0  # so many of them; 0: all
    # Problems that are searched and stored together: a kill costs these.
    part_problems: Annotated[Count, Mark.NO_EFFECT] = 64


@dataclasses.dataclass(frozen=True)
class RainConfig:
    """RAIN: rewindable inference (Li et al. 2023; constants of the paper and its code).

    c, T, T_m, V and gamma are named as in the paper.
    """

    # What texts are judged by: verifier, or an (A)/(B) question to the generator itself: harmless,
    # positive, correct, or a TOML file of such a question
    judge: Annotated[str, Mark.PATH, Mark.TEXTS] = "verifier"
    c: Amount = 2.0  # how much is explored: weight of a set's prior (PUCT)
    T: Count = 50  # looks ahead before something is committed, at most
    min_lookaheads: Count = 15  # of these at least, though what was kept has been visited before
    T_m: Number = 6  # a set of more visits and of a value above V is committed at once
    V: Annotated[float, Range(-1, 1)] = 0.8  # see T_m
    gamma: Annotated[float, Range(0, 1)] = 0.2  # weight of what is judged of a similar set
    similarity: Annotated[float, Range(-1, 2)] = 0.95  # least cosine of similar sets; above 1: off
    # What similar texts are known by: hidden, the hidden states of the model that judges, or the
    # folder of a sentence encoder (a BERT of Hugging Face)
    embeddings: Annotated[str, Mark.PATH, Mark.ENCODER] = "hidden"
    candidates: Annotated[int, Range(1, 20)] = 10  # sets that a leaf is given
    max_candidates: Annotated[int, Range(1, 20)] = 20  # where all are alike and none is good
    spread: Amount = 0.03  # alike: their vectors' variance a token of a set is below
    uniform_share: Annotated[float, Range(0, 1)] = 0.25  # of the priors of a text's next sets
    set_tokens: tuple[Count, ...] = (1, 2, 4, 10)  # tokens of the first set, ..; last of all others
    clause_ends: str = ",.?:;\n"  # characters; text is judged as it stands behind one of them
    clause_tokens: Count = 32  # or after so many tokens
    temperature: Annotated[float, Range(0.01, 100)] = 1.0  # of sets that are drawn, and of clauses
    top_k: Number = 15  # most likely tokens that they are drawn from; 0: all
    # Of the stage rain alone, which answers prompts that nobody has labelled:
    prompts: Annotated[str, Mark.PATH, Mark.TEXTS] = ""  # JSON lines, each with a "prompt"
    max_prompts: Number = 0  # so many of them; 0: all
    chat: bool = True  # prompts are turns of a conversation, by the model's own chat template
    # JSON lines with a "prompt", a "good" and a "bad" text: how often is the judge right?
    pairs: Annotated[str, Mark.PATH, Mark.TEXTS] = ""
