"""How often the same samples are drawn otherwise, by cause: first differences ("flips") per million
tokens.

    python -m benchmarks.flips --model=RUN/generator [--exp=NAME --set=...]

A token changes where a number that it is drawn by lies at the boundary between two tokens and the
boundary moves, since the same numbers add up in another order. Each cause draws the training
samples of the run's generator once more, as a user would by `verifier.launch`, with one thing
changed, and is held against the samples of its reference, token by token; behind a first difference
two samples have nothing more to do with each other. How many of them are near ties, by the rule
that the tests accept them by (tests/decode/near_ties.py), is said beside them. Intervals are exact,
of a Poisson number, 95%.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import signal
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import scipy.stats

from benchmarks import flags as flags_lib
from benchmarks import launches, results
from benchmarks.contenders import ROOT, without_folders
from benchmarks.sampling import UNSHARED
from tests.decode.near_ties import Drawn, Key
from verifier import config as config_lib
from verifier.errors import UserError
from verifier.run import experiment, model_folder
from verifier.tables import store
from verifier.tasks import sources
from verifier.text.problem import Template, prompt_ids

CONFIDENCE = 0.95
TABLE = "tables/samples/split=train"
Samples = Mapping[Key, Sequence[int]]


class Condition(NamedTuple):
    """How samples are drawn."""

    dtype: str = "float32"
    settings: tuple[str, ...] = ()
    devices: int = 1  # virtual ones, of each process
    processes: int = 1
    stopped: bool = False  # on the way, and started again
    again: bool = False  # what was drawn before, once more


class Cause(NamedTuple):
    """Two conditions that differ in one thing."""

    condition: Condition
    reference: Condition = Condition()


def causes(rows: int, problems: int) -> dict[str, Cause]:
    """By name. `rows`: slots of the reference; `problems`: that are sampled from."""
    half = f"sample.rows={rows // 2}"
    return {
        "nothing": Cause(Condition(again=True)),
        "slots": Cause(Condition(settings=(half,))),
        # half of the problems: those that are left stand in other slots, beside others
        "order": Cause(Condition(settings=(f"sample.train_problems={problems // 2}",))),
        "trees": Cause(Condition(settings=(UNSHARED,))),
        "restart": Cause(Condition(stopped=True)),
        "hosts": Cause(Condition(processes=2)),
        "mesh": Cause(Condition(devices=4)),
        "bfloat16": Cause(Condition("bfloat16")),
        "slots in bfloat16": Cause(Condition("bfloat16", (half,)), Condition("bfloat16")),
    }


class Bench:
    """The run whose generator draws, and where."""

    def __init__(
        self, run: launches.Run, environment: Mapping[str, str], work: pathlib.Path
    ) -> None:
        self.run, self._environment, self._work = run, environment, work
        self._seconds: list[float] = []  # of each drawing
        self._drawn: dict[Condition, Samples] = {}

    def samples(self, condition: Condition, name: str) -> Samples:
        """Draws them; those of a condition that was drawn before are kept.

        Raises:
            UserError: a process failed.
        """
        if condition in self._drawn:
            return self._drawn[condition]
        folder = self._work / name.replace(", ", "-").replace(" ", "-")
        self.run.linked(folder, ["generator", "tables/problems"], condition.dtype)
        if condition.stopped:
            self._stop_on_the_way(folder)
        begun = time.monotonic()
        self._draw(folder, condition)
        print(f"  {name}: {time.monotonic() - begun:.0f} s", flush=True)
        manifest = store.read_manifest(folder / TABLE)
        assert manifest is not None  # of a stage that has ended well
        self._seconds.append(manifest["seconds"])
        table = store.read_table(folder / TABLE, "samples", ["problem_id", "sample_id", "tokens"])
        found = {(row["problem_id"], row["sample_id"]): row["tokens"] for row in table.to_pylist()}
        return self._drawn.setdefault(condition, found)

    def _draw(self, folder: pathlib.Path, condition: Condition) -> None:
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(self._start(folder, condition, process))
                for process in range(condition.processes)
            ]
            statuses = [each.wait() for each in started]
        if any(statuses):
            said = launches.last_words(folder / "said-0.txt")
            raise UserError(f"sampling has failed with exit statuses {statuses}: {said}")

    def _stop_on_the_way(self, folder: pathlib.Path) -> None:
        """Begins to draw and stops well before the fastest drawing so far would have ended."""
        with self._start(folder, Condition(), 0) as process:
            while not (folder / TABLE).exists() and process.poll() is None:
                time.sleep(0.1)
            time.sleep(min(self._seconds) / 3)
            process.send_signal(signal.SIGTERM)
            process.wait()
        if store.read_manifest(folder / TABLE):
            raise UserError("sampling ended before it could be stopped; ask for more samples")

    def _start(
        self, folder: pathlib.Path, condition: Condition, process: int
    ) -> contextlib.AbstractContextManager[Any]:
        """One process of a condition."""
        settings = (f"model.dtype={condition.dtype}", *condition.settings)
        command = self.run.command(folder, "sample", *settings)
        if condition.processes > 1:
            command += [
                f"--coordinator_address=localhost:{_port(folder)}",
                f"--num_processes={condition.processes}",
                f"--process_id={process}",
            ]
        environment = {
            **self._environment,
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(condition.devices),
        }
        said = folder / f"said-{process}.txt"
        return launches.started(command, ROOT, environment, said)


_ports: dict[pathlib.Path, int] = {}


def _port(folder: pathlib.Path) -> int:
    """A free port for the processes that share a workdir."""
    if folder not in _ports:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            _ports[folder] = free.getsockname()[1]
    return _ports[folder]


def counted(here: Samples, there: Samples, drawn_with: Drawn) -> dict[str, Any]:
    """Flips among the samples that both have, and their rate per million tokens.

    A sample's tokens count up to its first difference.
    """
    keys = sorted(here.keys() & there.keys())
    tokens, near = 0, 0
    flips: list[Key] = []
    for key in keys:
        one, other = list(here[key]), list(there[key])
        pairs = zip(one, other, strict=False)
        place = next((n for n, (a, b) in enumerate(pairs) if a != b), None)
        same = min(len(one), len(other)) if place is None else place
        tokens += same + (one != other)
        if one != other:
            flips.append(key)
            near += is_near_tie(drawn_with, key, one, other)
    low, high = poisson_interval(len(flips))
    rates = {name: 1e6 * count / max(tokens, 1) for name, count in (("low", low), ("high", high))}
    return {
        "samples": len(keys),
        "tokens": tokens,
        "flips": len(flips),
        "near_ties": near,
        "per_million": 1e6 * len(flips) / max(tokens, 1),
        **rates,
    }


def is_near_tie(drawn_with: Drawn, key: Key, one: list[int], other: list[int]) -> bool:
    """Whether the tests would accept that these two are the same sample."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            drawn_with.parted({key: one}, {key: other})
        except AssertionError:
            return False
    return True


def poisson_interval(count: int) -> tuple[float, float]:
    """Of the expectation, where `count` were seen (Garwood 1936)."""
    tail = (1 - CONFIDENCE) / 2
    low = scipy.stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    return float(low), float(scipy.stats.chi2.ppf(1 - tail, 2 * count + 2) / 2)


def drawn_with(run: launches.Run) -> Drawn:
    """What the samples of a run's generator are drawn with, for the rule of near ties."""
    root = pathlib.Path(run.workdir)
    saved = model_folder.load(root / "generator", "finetune", "float32")
    problems = sources.problems_from_table(
        store.read_table(root / "tables/problems/split=train", "problems")
    )
    prompts = {
        each.problem_id: prompt_ids(each.question, Template(), saved.tokenizer) for each in problems
    }
    config = config_lib.override(experiment.load(run.experiment), run.settings)
    return Drawn(saved.model, saved.tokenizer.vocab_size, prompts, config.seed, config.sample)


def measured(bench: Bench, name: str, cause: Cause, rule: Drawn) -> dict[str, Any]:
    """What one cause does, or why that could not be seen."""
    try:
        there = bench.samples(cause.reference, f"reference of {name}")
        row = counted(bench.samples(cause.condition, name), there, rule)
    except UserError as error:
        row = {"error": without_folders(str(error))}
    print(f"  {name}: {row}", flush=True)
    return {"cause": name, **row}


def main() -> None:
    """Measures and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument("--exp", default="tiny_token_verifier", help="experiment of the run")
    parser.add_argument("--problems", type=int, default=176, help="that are sampled from")
    parser.add_argument("--samples", type=int, default=32, help="of each problem")
    parser.add_argument("--rows", type=int, default=512, help="slots of the reference")
    parser.add_argument("--causes", default="", help="only these, separated by semicolons")
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    knobs = {
        "train_problems": flags.problems,
        "train_samples": flags.samples,
        "heldout_samples": 1,
        "test_samples": 1,
        "greedy": "false",
        "rows": flags.rows,
    }
    settings = [*flags.set, *(f"sample.{knob}={number}" for knob, number in knobs.items())]
    run = launches.Run(str(flags.model.resolve().parent), flags.exp, settings)
    asked = causes(flags.rows, flags.problems)
    names = flags.causes.split(";") if flags.causes else list(asked)
    if unknown := [name for name in names if name not in asked]:
        raise UserError(f"--causes: there is no {unknown[0]!r}; known are {'; '.join(asked)}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(run, setting.environment, pathlib.Path(folder))
        rule = drawn_with(run)
        found = [measured(bench, name, asked[name], rule) for name in names]
    facts = {**setting.facts(), "problems": flags.problems, "samples": flags.samples}
    results.write("flips", setting.threads, {**facts, "causes": found}, flags.results)


if __name__ == "__main__":
    flags_lib.guarded(main)
