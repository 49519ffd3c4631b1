"""What sharing costs where samples have nothing in common, and gains where they have little: this
project beside an earlier state of it.

    python -m benchmarks.sharing --model=runs/NAME/generator --before=CHECKOUT

Each point is the drawing of a fixed number of tokens: `one` sample of each of many problems;
samples that `part` at the first token, being drawn at a temperature at which all tokens are alike;
and samples at each of --temperatures, which share the more the lower it is. How much they share is
stored beside the ratio: tokens over distinct prefixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks import flags as flags_lib
from benchmarks import needed, results, sampling, workload
from benchmarks.rounds import compare

USUAL = ["verifier", flags_lib.BEFORE]
HOT = 100.0  # a temperature at which hardly two of a hundred first tokens are the same


class Point(NamedTuple):
    """One kind of drawing."""

    name: str
    problems: int
    samples: int
    temperature: float


def points(one: int, problems: int, samples: int, temperatures: Sequence[float]) -> list[Point]:
    """In the order in which they are measured."""
    return [
        Point("one", one, 1, 0.7),
        Point("part", problems, samples, HOT),
        *(Point(f"at {each:g}", problems, samples, each) for each in temperatures),
    ]


def measure(setting: flags_lib.Setting, point: Point) -> dict[str, Any]:
    """All contenders at one point."""
    flags = setting.flags
    asked = workload.questions(setting.test_problems(), setting.tokenizer, point.problems)
    limit = flags.max_new_tokens
    planned = sampling.plan(asked, point.samples, limit, point.temperature, None)
    taking_part = sampling.contenders(setting, USUAL, False)
    print(f"{point.name}:", flush=True)
    found = sampling.with_rates(
        compare(taking_part, planned, flags.rounds, setting.environment),
        [len(each.prompt) for each in asked],
        needed.sizes_of(setting.model),
    )
    runs = found["verifier"]["runs"]
    shared = [run["tokens"] / run["distinct_prefixes"] for run in runs]
    return {
        **point._asdict(),
        "tokens_over_distinct_prefixes": results.summary(shared) if shared else None,
        "contenders": found,
        **results.compared(found, "tokens_per_second"),
    }


def main() -> None:
    """Measures and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument("--one", type=int, default=128, help="problems of one sample each")
    parser.add_argument("--problems", type=int, default=1, help="of many samples each")
    parser.add_argument("--samples", type=int, default=100, help="of such a problem")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument(
        "--temperatures", default="0.7,0.4", help="separated by commas; each is a point"
    )
    parser.add_argument(
        "--shared-alone", action="store_true", help="leaves out the points that share nothing"
    )
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    temperatures = [float(word) for word in flags.temperatures.split(",") if word]
    places = points(flags.one, flags.problems, flags.samples, temperatures)
    if flags.shared_alone:
        places = [place for place in places if place.name.startswith("at ")]
    found = {"max_new_tokens": flags.max_new_tokens}
    measured = [measure(setting, place) for place in places]
    results.write(
        "sharing", setting.threads, {**setting.facts(), **found, "points": measured}, flags.results
    )


if __name__ == "__main__":
    flags_lib.guarded(main)
