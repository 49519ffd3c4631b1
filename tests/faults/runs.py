"""A small run that is stopped, killed and started again, and how two workdirs are compared.

python -m tests.faults.runs --kills=200 (`make faults`) stops one run so often, at random moments
from its first import to its last line, by a kill, SIGTERM or Ctrl-C, and says whether it ended as a
run does that was never stopped: bit for bit, log-probabilities included.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from tests.shrunk import ROOT, SHRUNK, rows
from verifier.system import stopping

CHECKPOINTS = ["finetune.checkpoint_every=5", "verify.checkpoint_every=2"]
SETTINGS = [*SHRUNK, *CHECKPOINTS]
TABLES = {
    "samples": ("train", "heldout", "test", "test_greedy"),
    "labels": ("train", "heldout", "test"),
    "scores": ("heldout", "test"),
}


def begin(root: pathlib.Path, *more: str) -> subprocess.Popen[str]:
    """Starts the run, or goes on with it, as a user would."""
    command = [
        sys.executable,
        "-m",
        "verifier.launch",
        "--exp=tiny_token_verifier",
        f"--workdir={root}",
        *more,
        "--set",
        *SETTINGS,
    ]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(root: pathlib.Path, *more: str) -> str:
    """Runs to the end; what was said on the way."""
    _, errors = (run := begin(root, *more)).communicate(timeout=900)
    assert run.returncode == 0, errors[-3000:]
    return errors


def model_id(root: pathlib.Path, model: str) -> str:
    return json.loads((root / model / "manifest.json").read_text())["id"]


def losses(root: pathlib.Path, job: str) -> list[tuple[int, float]]:
    """Of every step that is logged."""
    lines = map(json.loads, (root / f"logs/{job}.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
    """What is not the same in two finished workdirs: models, rows, losses or metrics; times
    aside.
    """
    found = []
    for model in ("generator", "verifier"):
        ids = [model_id(root, model) for root in (one, other)]
        found += [f"{model}: {ids}"] if ids[0] != ids[1] else []
    for table, splits in TABLES.items():
        for split in splits:
            pair = [rows(root / f"tables/{table}/split={split}") for root in (one, other)]
            found += [f"{table} {split}"] if pair[0] != pair[1] else []
    for job in ("finetune", "verify"):
        found += [f"losses of {job}"] if losses(one, job) != losses(other, job) else []
    metrics = [
        json.loads((root / "report/metrics.json").read_text())["splits"] for root in (one, other)
    ]
    return found + (["metrics"] if metrics[0] != metrics[1] else [])


def killed(
    root: pathlib.Path, signals: list[signal.Signals], chance: random.Random, longest: float
) -> collections.Counter[str]:
    """Sends the run one signal after another, each after up to `longest` seconds; which of them in
    which stage.

    A run that a signal ends is begun anew; one that ends by itself is the last. A quarter of the
    signals come before the first stage.
    """
    stages: collections.Counter[str] = collections.Counter()
    for number in signals:
        run = begin(root)
        assert run.stderr is not None
        stage = "start"
        building = chance.random() < 0.25
        # the first line of a stage: imports are over
        while not building and stage == "start" and (line := run.stderr.readline()):
            stage = line.removeprefix("== ").strip() if line.startswith("== ") else stage
        while not listens(run.pid):  # before that Python itself would end by the signal
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 1.7) if building else chance.uniform(0, longest))
        run.send_signal(number)
        printed, said = run.communicate(timeout=60)
        # Python itself may end by the signal, when all is done
        if run.returncode == 0 or "metrics  " in printed:
            return stages
        assert run.returncode == launch_status(number), (number, run.returncode, said[-3000:])
        assert "Traceback" not in said, said[-3000:]
        assert number == signal.SIGKILL or said.count("stopped: ") == 1, said[-3000:]
        stages[
            f"{number.name} "
            f"{([stage, *(line[3:] for line in said.splitlines() if line.startswith('== '))])[-1]}"
        ] += 1
        print(f"stopped {stages.total()} of {len(signals)}: {dict(stages)}", flush=True)
    return stages


def listens(pid: int) -> bool:
    """Whether a process has handlers for both signals, or has ended."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
    caught = int(
        next(line for line in status.splitlines() if line.startswith("SigCgt")).split()[1], 16
    )
    return "State:\tZ" in status or all(
        caught >> (number - 1) & 1 for number in (signal.SIGTERM, signal.SIGINT)
    )


def launch_status(number: signal.Signals) -> int:
    """How a run ends that is sent a signal."""
    return -number if number == signal.SIGKILL else stopping.SAVED_STATUS


def picked(names: str, count: int, chance: random.Random) -> list[signal.Signals]:
    """So many signals, at random."""
    return [signal.Signals[f"SIG{chance.choice(names.split(','))}"] for _ in range(count)]


def main() -> None:
    """Stops, compares and says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--signals", default="KILL,TERM,INT")
    parser.add_argument(
        "--longest", type=float, default=6.0, help="seconds of work between two kills at most"
    )
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        never = pathlib.Path(folder) / "never"
        finish(never)
        total: collections.Counter[str] = collections.Counter()
        runs = 0
        while total.total() < flags.kills:
            often = pathlib.Path(folder) / f"run-{runs}"
            chance = random.Random(f"{flags.seed} {runs}")
            total += killed(
                often,
                picked(flags.signals, flags.kills - total.total(), chance),
                chance,
                flags.longest,
            )
            finish(often)
            if found := differences(often, never):
                sys.exit(f"run {runs} differs from one that was never killed: {', '.join(found)}")
            runs += 1
        print(
            f"{total.total()} signals over {runs} runs, {dict(total)}: all ended as a run that "
            "was never stopped"
        )


if __name__ == "__main__":
    main()
