"""What was to be reached, and what was: one line a goal. Knows how figures are shown, not how they
are measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.figures import (
    MISSING,
    Result,
    best,
    newest,
    over,
    peak,
    shares,
    table,
    times,
)
from benchmarks.flags import BEFORE, TESTS

OWN = ("verifier",)
DRAWING_PEERS = (
    "transformers",
    "transformers-continuous",
    "transformers-continuous-automatic",
    "llama.cpp",
    "llama.cpp-split",
)
# The rate of a job that counts.
RATES = {
    "sampling": "solutions_per_second",
    "fixed_length": "tokens_per_second",
    "scoring": "solutions_per_second",
    "training": "tokens_per_second",
    "verifier_training": "samples_per_second",
}
_COPIES = "{}: shared prompt over copies of the prompt"


class Goal(NamedTuple):
    """A line of the table."""

    job: str
    words: str
    cpu: str
    gpu: str
    read: Callable[[Result, Sequence[Result]], str]  # from the newest result and all of them
    axis: str = ""
    test: str = TESTS[0]


def best_over(*peers: str) -> Callable[[Result, Sequence[Result]], str]:
    """This project over the hardest to beat of some kinds of contender, each in its best
    precision.
    """

    def read(found: Result, every: Sequence[Result]) -> str:
        figure = RATES[found["job"]]
        ours, theirs = best(found, OWN, figure), best(found, peers, figure)
        compared = over(found, ours, theirs, figure)
        return f"{times(compared)} {ours} over {theirs}" if compared else MISSING

    return read


def narrow_over_wide(found: Result, every: Sequence[Result]) -> str:
    """This project in bfloat16 over itself in float32."""
    names = [
        next((name for name in found["contenders"] if _is_own(found, name, dtype)), "")
        for dtype in ("bfloat16", "float32")
    ]
    compared = over(found, *names, RATES[found["job"]])
    return times(compared) if compared else MISSING


def _is_own(found: Result, name: str, dtype: str) -> bool:
    each = found["contenders"][name]
    return name.removesuffix(f"-{dtype}") in OWN and each.get("dtype", found["dtype"]) == dtype


def own_share(found: Result, every: Sequence[Result]) -> str:
    """Of this project's best contender."""
    ours = best(found, OWN, RATES[found["job"]])
    reached = shares(every, found, ours)
    return f"{statistics.median(reached):.0%} {ours}" if reached else MISSING


def memory_over_before(found: Result, every: Sequence[Result]) -> str:
    """Peak memory of this project over that of its earlier state, in the same precision."""
    ours, theirs = peak(found, "verifier"), peak(found, BEFORE)
    return f"{ours / theirs:.2f}x" if ours and theirs else MISSING


def ratio(name: str) -> Callable[[Result, Sequence[Result]], str]:
    """A ratio that the result itself has."""

    def read(found: Result, every: Sequence[Result]) -> str:
        return times(found["ratios"][name]) if name in found["ratios"] else MISSING

    return read


def rate_of(*ways: str) -> Callable[[Result, Sequence[Result]], str]:
    """Solutions a second by each of some ways to align."""

    def read(found: Result, every: Sequence[Result]) -> str:
        rates = {each["way"]: each["rate"]["median"] for each in found["points"]}
        return "; ".join(f"{rates[way]:,.0f} {way}" for way in ways if way in rates) or MISSING

    return read


def at_points(*names: str) -> Callable[[Result, Sequence[Result]], str]:
    """This project over its earlier state at points whose names begin so."""

    def read(found: Result, every: Sequence[Result]) -> str:
        cells = []
        for point in found["points"]:
            if point["name"].startswith(names) and BEFORE in point["ratios"]:
                shared = point["tokens_over_distinct_prefixes"]["median"]
                said = times(point["ratios"][BEFORE])
                cells.append(f"{said} {point['name']}, {shared:.2f} tokens a prefix")
        return "; ".join(cells) or MISSING

    return read


GOALS = [
    Goal(
        "demo", "`make demo`, seconds over before, nothing compiled", "<= 0.7x", "", ratio("cold")
    ),
    Goal("demo", "the same, compiled before", "", "", ratio("warm")),
    Goal(
        "sampling",
        "(a) solutions/s over the best peer",
        ">= 4x",
        ">= 4x",
        best_over(*DRAWING_PEERS),
    ),
    Goal(
        "fixed_length",
        "(b) tokens/s over the best peer",
        ">= 4x",
        ">= 4x",
        best_over(*DRAWING_PEERS),
    ),
    Goal(
        "sampling",
        "(a) the same where the model is sure, SVAMP",
        "",
        "",
        best_over(*DRAWING_PEERS),
        test="svamp",
    ),
    Goal("sampling", "(a) own bfloat16 over own float32", ">= 1.6x", "", narrow_over_wide),
    Goal("fixed_length", "(b) own bfloat16 over own float32", ">= 1.6x", "", narrow_over_wide),
    Goal("scoring", "(c) own bfloat16 over own float32", ">= 1.5x", "", narrow_over_wide),
    Goal("training", "(d) own bfloat16 over own float32", ">= 1.5x", "", narrow_over_wide),
    Goal("sampling", "(a) share of the limit", ">= 55%", ">= 55%", own_share),
    Goal("fixed_length", "(b) share of the limit", ">= 55%", ">= 55%", own_share),
    Goal("scoring", "(c) share of the limit", ">= 55%", ">= 55%", own_share),
    Goal("training", "(d) share of the limit", ">= 55%", ">= 40% at 0.5B", own_share),
    Goal("verifier_training", "(h) share of the limit", ">= 55%", ">= 55%", own_share),
    Goal(
        "scoring",
        "(c) solutions/s over a padded torch forward",
        ">= 3x",
        ">= 3x",
        best_over("torch"),
    ),
    Goal(
        "training",
        "(d) tokens/s over the padded torch loop",
        ">= 1.5x",
        ">= 1.5x",
        best_over("torch-padded"),
    ),
    Goal(
        "training",
        "(d) tokens/s over the packed torch loop",
        ">= 1.0x",
        ">= 1.1x",
        best_over("torch-packed"),
    ),
    Goal(
        "verifier_training",
        "(h) samples/s over the packed torch loop",
        ">= 3x",
        ">= 3x",
        best_over("torch-packed"),
    ),
    Goal("verifier_training", "(h) samples/s over before", ">= 2x", ">= 2x", best_over(BEFORE)),
    Goal(
        "sharing",
        "tokens/s over before, nothing shared",
        ">= 0.97x",
        ">= 0.97x",
        at_points("one", "part"),
    ),
    Goal(
        "sharing",
        "tokens/s over before, 1.16 to 1.36 tokens a prefix",
        ">= 1.1x",
        ">= 1.1x",
        at_points("at "),
    ),
    Goal("sampling", "(a) peak memory over before", "<= 1x", "<= 1x", memory_over_before),
    Goal("fixed_length", "(b) peak memory over before", "<= 1x", "<= 1x", memory_over_before),
    Goal("scoring", "(c) peak memory over before", "<= 1x", "<= 1x", memory_over_before),
    Goal("verifier_training", "(h) peak memory over before", "<= 1x", "<= 1x", memory_over_before),
    Goal("demo", "`make demo`, peak memory over before", "<= 1x", "", memory_over_before),
    Goal(
        "growth",
        "peak memory, shared prompt over copies",
        "<= 1/3",
        "<= 1/3",
        ratio(_COPIES.format("peak")),
        "copies",
    ),
    Goal(
        "growth",
        "the same beyond the model",
        "",
        "",
        ratio(_COPIES.format("beyond_model")),
        "copies",
    ),
    Goal(
        "growth",
        "64 problems over 8",
        "<= 8.4x",
        "<= 8.4x",
        ratio("seconds: 64 over 8"),
        "problems",
    ),
    Goal(
        "aligning",
        "(l) solutions/s that are aligned, on one core",
        ">= 2,000",
        "",
        rate_of("same", "bytes", "dtw"),
    ),
]


def goals(every: Sequence[Result]) -> str:
    """What was to be reached and what was; `every` result, in order of time."""
    rows = []
    for goal in GOALS:
        cells = []
        for place in ("CPU", "GPU"):
            found = newest(every, goal.job, place, goal.axis, goal.test)
            cells.append(goal.read(found, every) if found else MISSING)
        rows.append([goal.words, goal.cpu, cells[0], goal.gpu, cells[1]])
    return table(["job", "goal, CPU", "CPU", "goal, GPU", "GPU"], rows)
