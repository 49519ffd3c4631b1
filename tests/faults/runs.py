"""A small run that is stopped, killed and started again, and how two workdirs are compared.

python -m tests.faults.runs --kills=200 (`make faults`) kills one run so often, at random moments of all stages, and says whether it
ended as a run does that was never killed.
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

CHECKPOINTS = ["finetune.checkpoint_every=5", "verify.checkpoint_every=2"]
SETTINGS = [*SHRUNK, *CHECKPOINTS]
TABLES = {"samples": ("train", "heldout", "test", "test_greedy"), "labels": ("train", "heldout", "test"), "scores": ("heldout", "test")}


def begin(root: pathlib.Path, *more: str) -> subprocess.Popen[str]:
    """Starts the run, or goes on with it, as a user would."""
    command = [sys.executable, "-m", "verifier.launch", "--exp=tiny_token_verifier", f"--workdir={root}", *more, "--set", *SETTINGS]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


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
    """What is not the same in two finished workdirs: models, rows, losses or metrics; times aside."""
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
    metrics = [json.loads((root / "report/metrics.json").read_text())["splits"] for root in (one, other)]
    return found + (["metrics"] if metrics[0] != metrics[1] else [])


def killed(root: pathlib.Path, kills: int, chance: random.Random, longest: float) -> collections.Counter[str]:
    """Kills the run so often, each time after up to `longest` seconds of work; how often in which stage. A run that ends is begun anew."""
    stages: collections.Counter[str] = collections.Counter()
    while stages.total() < kills:
        run = begin(root)
        assert run.stderr is not None
        stage = ""
        while not stage and (line := run.stderr.readline()):  # the first line of a stage: imports are over
            stage = line.removeprefix("== ").strip() if line.startswith("== ") else ""
        time.sleep(chance.uniform(0, longest))
        run.send_signal(signal.SIGKILL)
        said = run.communicate()[1]
        if run.returncode == 0:
            return stages
        assert run.returncode == -signal.SIGKILL, said[-3000:]
        stages[([stage, *(line[3:] for line in said.splitlines() if line.startswith("== "))])[-1]] += 1
        print(f"killed {stages.total()} of {kills}: {dict(stages)}", flush=True)
    return stages


def main() -> None:
    """Kills, compares and says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--longest", type=float, default=6.0, help="seconds of work between two kills at most")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        never = pathlib.Path(folder) / "never"
        finish(never)
        total: collections.Counter[str] = collections.Counter()
        runs = 0
        while total.total() < flags.kills:
            often = pathlib.Path(folder) / f"run-{runs}"
            total += killed(often, flags.kills - total.total(), random.Random(f"{flags.seed} {runs}"), flags.longest)
            finish(often)
            if found := differences(often, never):
                sys.exit(f"run {runs} differs from one that was never killed: {', '.join(found)}")
            runs += 1
        print(f"{total.total()} kills over {runs} runs, {dict(total)}: all ended as a run that was never killed")


if __name__ == "__main__":
    main()
