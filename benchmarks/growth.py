"""Job (e): how time and peak memory grow with samples a problem, prompt length or number of
problems, and what copies of a prompt cost.

    python -m benchmarks.growth --axis=samples --model=runs/NAME/generator

Every point of every round is measured in a fresh process: load, the job once (compilation), the job
again, which counts. All solutions have --max-new-tokens tokens (the end token ends nothing) and the
calculator is off, so that points differ in one thing alone. Memory is the greatest number of
resident bytes during the job that counts (of the device, where there is one that counts for
itself); "beyond the model" leaves out the libraries (what was resident before the model was loaded)
and the weights.

--axis=copies compares 100 samples of one prompt with 100 problems of the same prompt and one sample
each, which share nothing, and, with --peer-python, with `generate` of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from benchmarks import flags as flags_lib
from benchmarks import plots, results, workload
from benchmarks.contenders import Contender, Failed, Process
from benchmarks.sampling import plan
from verifier.errors import UserError

VALUES = {
    "samples": "1,10,25,50,100,200,400",
    "prompt": "50,100,250,500,950",
    "problems": "8,16,32,64",
    "copies": "500",
}


class Point(NamedTuple):
    """One place on the axis."""

    name: str
    value: int
    contender: Contender
    questions: list[workload.Question]
    samples: int


def points(setting: flags_lib.Setting, axis: str, values: Sequence[int]) -> list[Point]:
    """The places of an axis, in the order of the values."""
    flags = setting.flags
    ours = setting.ours("verifier", {"calculator": False})
    split = setting.test_problems()

    def long(tokens: int, copies: int = 1) -> list[workload.Question]:
        prompt = workload.long_prompt(split, setting.tokenizer, tokens)
        return [workload.Question(f"copy-{number}", prompt) for number in range(copies)]

    def copies(tokens: int) -> list[Point]:
        found = [
            Point("shared prompt", tokens, ours, long(tokens), flags.samples),
            Point("copies of the prompt", tokens, ours, long(tokens, flags.samples), 1),
        ]
        if flags.peer_python:
            peer = setting.torch("transformers", "transformers_worker", {})
            found.append(Point("transformers", tokens, peer, long(tokens), flags.samples))
        return found

    make: dict[str, Callable[[int], list[Point]]] = {
        "samples": lambda n: [
            Point(str(n), n, ours, workload.questions(split, setting.tokenizer, 1), n)
        ],
        "prompt": lambda n: [Point(str(n), n, ours, long(n), flags.samples)],
        "problems": lambda n: [
            Point(str(n), n, ours, workload.questions(split, setting.tokenizer, n), flags.samples)
        ],
        "copies": copies,
    }
    return [point for value in values for point in make[axis](value)]


def measure(point: Point, setting: flags_lib.Setting, turn: int) -> dict[str, Any]:
    """Seconds, tokens and bytes of one point, in a process of its own; or its error."""
    flags = setting.flags
    planned = plan(point.questions, point.samples, flags.max_new_tokens, flags.temperature, None)
    process = Process(point.contender, setting.environment)
    try:
        loaded = process.ask("load", point.contender.load)
        process.ask("sample", {**planned.arguments(flags.rounds), **point.contender.job})
        run = process.ask("sample", {**planned.arguments(turn), **point.contender.job})
    except Failed as error:
        return {"error": str(error)}
    finally:
        process.close()
    on_device = run["memory"]["device_peak_of_process"]
    peak = on_device or run["memory"]["peak"]
    model = (
        loaded["weight_bytes"]
        if on_device
        else loaded["memory"]["resident_before"] + loaded["weight_bytes"]
    )
    found = {
        "seconds": run["seconds"],
        "tokens": sum(len(text) for each in run["solutions"] for text in each),
        "peak": peak,
        "beyond_model": max(peak - model, 0),
    }
    return {
        **found,
        "weight_bytes": loaded["weight_bytes"],
        "memory": run["memory"],
        "loaded": loaded["memory"],
    }


def interleaved(names: Sequence[str], rounds: int) -> list[tuple[int, str]]:
    """Turns in order, A B C A B C ...: what a noisy neighbour slows down is then never one
    contender alone.
    """
    return [(turn, name) for turn in range(rounds) for name in names]


def gathered(
    places: Sequence[Point], runs: Sequence[tuple[str, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """The runs of each point with their summaries."""
    out = []
    for place in places:
        mine = [run for name, run in runs if name == _key(place)]
        whole = [run for run in mine if "error" not in run]
        row: dict[str, Any] = {
            "name": place.name,
            "value": place.value,
            "samples": place.samples,
            "problems": len(place.questions),
        }
        row["prompt_tokens"] = results.summary([len(each.prompt) for each in place.questions])
        if whole:
            row |= {
                figure: results.summary([run[figure] for run in whole])
                for figure in ("seconds", "peak", "beyond_model")
            }
        out.append({**row, "runs": mine})
    return out


def compared(rows: Sequence[dict[str, Any]], axis: str) -> dict[str, Any]:
    """The ratios that the axis is about: the last point's time over the first's; copies: the shared
    prompt's memory over the others'.
    """
    if any("error" in run for row in rows for run in row["runs"]) or len(rows) < 2:
        return {}

    def over(figure: str, one: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
        return results.ratio(
            [run[figure] for run in one["runs"]], [run[figure] for run in other["runs"]]
        )

    if axis != "copies":
        return {
            f"seconds: {rows[-1]['name']} over {rows[0]['name']}": over(
                "seconds", rows[-1], rows[0]
            )
        }
    pairs = [(figure, row) for row in rows[1:] for figure in ("peak", "beyond_model", "seconds")]
    return {
        f"{figure}: {rows[0]['name']} over {row['name']}": over(figure, rows[0], row)
        for figure, row in pairs
    }


def main() -> None:
    """Measures, draws and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.set_defaults(context=2048)
    parser.add_argument("--axis", choices=tuple(VALUES), required=True)
    parser.add_argument(
        "--values",
        default="",
        help="places on the axis, separated by commas; empty: the usual ones",
    )
    parser.add_argument(
        "--samples", type=int, default=100, help="solutions a problem, where that is not the axis"
    )
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.7)
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    values = sorted(int(word) for word in (flags.values or VALUES[flags.axis]).split(","))
    if flags.axis == "copies" and len(values) > 1:
        raise UserError(f"--values={flags.values}: the axis copies takes one length of prompt")
    places = points(setting, flags.axis, values)
    runs = []
    for turn, name in interleaved([_key(place) for place in places], flags.rounds):
        run = measure(next(place for place in places if _key(place) == name), setting, turn)
        print(
            f"  {name}: "
            + ", ".join(
                f"{key} {value:,}" for key, value in run.items() if isinstance(value, (int, float))
            ),
            flush=True,
        )
        runs.append((name, run))
    rows = gathered(places, runs)
    facts = {
        "axis": flags.axis,
        "samples": flags.samples,
        "max_new_tokens": flags.max_new_tokens,
        "temperature": flags.temperature,
    }
    found = {**setting.facts(), **facts, "points": rows, "ratios": compared(rows, flags.axis)}
    path = results.write("growth", setting.threads, found, flags.results)
    if flags.axis != "copies":
        plots.write(rows, flags.axis, path)


def _key(place: Point) -> str:
    return f"{place.contender.name}, {place.name}"


if __name__ == "__main__":
    flags_lib.guarded(main)
