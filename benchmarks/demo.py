"""The demo as a whole command, this state of the project beside an earlier one, in turns.

    python -m benchmarks.demo --before=CHECKOUT

What `make demo` does after set-up: all stages of the tiny experiment as each checkout has it, in a
workdir of its own. The first turn of each compiles everything ("cold", what a user sees first), the
others find compiled programs ("warm").
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
from typing import Any

from benchmarks import flags as flags_lib
from benchmarks import launches, results
from benchmarks.contenders import ROOT, environment, use_cores


def measure(
    checkouts: dict[str, pathlib.Path], turns: int, work: pathlib.Path, threads: int
) -> dict[str, Any]:
    """Seconds and peak memory of every turn, by contender."""
    found: dict[str, Any] = {name: {"dtype": "float32", "runs": []} for name in checkouts}
    for turn in range(turns):
        for name, root in checkouts.items():
            folder = work / f"{name}-{turn}"
            command = [sys.executable, "-m", "verifier.launch", "--exp=tiny_token_verifier"]
            run = launches.finished(
                [*command, f"--workdir={folder}"],
                root,
                environment(work / name, threads),
                work / f"{name}-{turn}.txt",
            )
            found[name]["runs"].append(run)
            print(f"  {name}: {'warm' if turn else 'cold'}: {run['seconds']:.1f} s", flush=True)
    for each in found.values():
        seconds = [run["seconds"] for run in each["runs"]]
        each["cold_seconds"] = results.summary(seconds[:1])
        if turns > 1:
            each["warm_seconds"] = results.summary(seconds[1:])
    return found


def main() -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--before", type=pathlib.Path, help="checkout of an earlier state")
    parser.add_argument("--rounds", type=int, default=1, help="warm turns after the cold one")
    parser.add_argument("--threads", type=int, default=0, help="cores; 0: all")
    parser.add_argument("--results", type=pathlib.Path, default=results.FOLDER)
    flags = parser.parse_args()
    threads = use_cores(flags.threads)
    checkouts = {"verifier": ROOT}
    if flags.before:
        checkouts[flags_lib.BEFORE] = flags.before.resolve()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(checkouts, flags.rounds + 1, pathlib.Path(folder), threads)
    ratios = {}
    if flags.before:
        ours, theirs = (
            [run["seconds"] for run in found[name]["runs"]]
            for name in ("verifier", flags_lib.BEFORE)
        )
        ratios = {"cold": results.ratio(ours[:1], theirs[:1])}
        if flags.rounds:
            ratios["warm"] = results.ratio(ours[1:], theirs[1:])
    facts = {"model": "tiny_base_weights", "dtype": "float32"}
    results.write("demo", threads, {**facts, "contenders": found, "ratios": ratios}, flags.results)


if __name__ == "__main__":
    flags_lib.guarded(main)
