"""What processes, meshes, checkpoints and restarts cost, by runs of `verifier.launch` and by steps
beside each other.

    python -m benchmarks.overheads --model=FOLDER [--rounds=3]

hosts: solutions/s of the sampling stage (tiny experiment) by one process on a core and by two on a
core each. mesh: seconds of a training step of the model, its parameters on a mesh of one device
over those on no mesh. saves: seconds for which training waits for a checkpoint of the model and its
optimiser, over the default time between two. restart: seconds from a killed fine-tuning's new start
to its first new step (tiny experiment, compiled programs kept).
"""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import flags as flags_lib
from benchmarks import results, workload
from benchmarks.contenders import ROOT
from verifier import config as config_lib
from verifier.hf.weights import load_weights
from verifier.model import sharding
from verifier.tables.store import read_manifest
from verifier.train import checkpoint, step
from verifier.train.losses import lm

SAMPLING = [
    "sample.train_problems=352",
    "sample.heldout_samples=1",
    "sample.test_samples=1",
    "sample.greedy=false",
]
SLOTS = 128  # of each process
# samples a problem: of a measured turn, where the seconds before the first solution hardly count;
# of the first turn
LONG, SHORT = 48, 8


def launch(
    root: pathlib.Path, cores: Sequence[int], *more: str, process: int = 0, processes: int = 1
) -> subprocess.Popen[bytes]:
    """Starts the tiny experiment on some cores."""
    job = [
        f"--coordinator_address=localhost:{29400 + os.getpid() % 500}",
        f"--num_processes={processes}",
        f"--process_id={process}",
    ]
    command = [
        sys.executable,
        "-m",
        "verifier.launch",
        "--exp=tiny_token_verifier",
        f"--workdir={root}",
    ]
    command += (job if processes > 1 else []) + [*more]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def hosts(work: pathlib.Path, rounds: int) -> dict[str, Any]:
    """Solutions/s of one and of two processes, in turns; each with compiled programs that an
    unmeasured turn has made.
    """
    cores = sorted(os.sched_getaffinity(0))[:2]
    launch(work / "base", cores, "--stages=finetune").wait()
    rates: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(rounds + 1):
        for processes in (1, 2):
            root = pathlib.Path(shutil.copytree(work / "base", work / f"hosts-{turn}-{processes}"))
            size = [
                f"sample.train_samples={LONG if turn else SHORT}",
                f"sample.rows={SLOTS * processes}",
            ]
            flags = ["--stages=sample", *(f"--set={knob}" for knob in [*SAMPLING, *size])]
            started = [
                launch(root, [cores[n]], *flags, process=n, processes=processes)
                for n in range(processes)
            ]
            statuses = [each.wait() for each in started]  # of all, before one is looked at
            if any(statuses):
                raise SystemExit(
                    f"sampling by {processes} processes has failed: exit status {statuses}"
                )
            manifest = read_manifest(root / "tables/samples/split=train")
            assert manifest is not None
            if turn:
                rates[processes].append(manifest["rows"] / manifest["seconds"])
            shutil.rmtree(root)
    return {"one": rates[1], "two": rates[2], "ratio": results.ratio(rates[2], rates[1])}


def restart(work: pathlib.Path, rounds: int) -> list[float]:
    """Seconds to the first step after a kill."""
    seconds = []
    cores = sorted(os.sched_getaffinity(0))
    flags = ["--stages=finetune", "--set=finetune.checkpoint_every=5", "--set=finetune.epochs=4"]
    for turn in range(rounds):
        root = work / f"restart-{turn}"
        log = root / "logs/finetune.jsonl"
        run = launch(root, cores, *flags)
        while _lines(log) < 12 and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(signal.SIGKILL)
        run.wait()
        before = max(
            int(path.name.split(".")[0])
            for path in (root / "generator/finetune-checkpoints").glob("*.sums.json")
        )
        # a new start puts another file there, without the lines after the checkpoint
        old = log.stat().st_ino
        begun = time.monotonic()
        run = launch(root, cores, *flags)
        while (log.stat().st_ino == old or _lines(log) <= before) and run.poll() is None:
            time.sleep(0.02)
        seconds.append(time.monotonic() - begun)
        run.kill()
        run.wait()
    return seconds


def _lines(path: pathlib.Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


class Training:
    """A training step of the model, on a mesh of one device or on none."""

    def __init__(
        self, setting: flags_lib.Setting, batches: Sequence[Any], mesh: jax.sharding.Mesh | None
    ) -> None:
        config = config_lib.TrainConfig()
        model = load_weights(setting.model, tokenizer_size=setting.tokenizer.vocab_size, mesh=mesh)
        graph, params, constants = step.split_model(model)
        loss = lm.loss(setting.tokenizer.vocab_size)
        self.programs, optimiser = step.compile_steps(
            (graph, constants), loss, config, 1000, 0, "finetune"
        )
        self.state = step.first_state(params, optimiser)
        self.mesh, self.batches, self.turn = mesh, batches, 0

    def seconds(self) -> float:
        """Of the next step."""
        batch = self.batches[self.turn % len(self.batches)]
        self.turn += 1
        placed = (
            jax.tree.map(jnp.asarray, batch)
            if self.mesh is None
            else sharding.place_rows(batch, self.mesh)
        )
        begun = time.monotonic()
        with sharding.using(self.mesh):
            self.state, numbers = self.programs.step(self.state, placed)
        jax.block_until_ready((self.state, numbers))
        return time.monotonic() - begun


def mesh(setting: flags_lib.Setting, batches: Sequence[Any], rounds: int) -> dict[str, Any]:
    """Seconds of steps on no mesh and on one of one device, in turns."""
    one = sharding.make_mesh(config_lib.MeshConfig(1, 1, 1))
    both = {"none": Training(setting, batches, None), "one_device": Training(setting, batches, one)}
    seconds: dict[str, list[float]] = {name: [] for name in both}
    for turn in range(2 * rounds + 1):
        for name, each in both.items():
            taken = each.seconds()
            if turn:
                seconds[name].append(taken)
    return {**seconds, "ratio": results.ratio(seconds["one_device"], seconds["none"])}


def saves(
    setting: flags_lib.Setting, batches: Sequence[Any], work: pathlib.Path, rounds: int
) -> dict[str, Any]:
    """Seconds for which `save` holds training up, and steps while a checkpoint is written and while
    none is.
    """
    own = Training(setting, batches, None)
    own.seconds()
    held, beside, alone = [], [], []
    with checkpoint.Checkpoints(work / "saves") as checkpoints:
        for turn in range(rounds):
            alone.append(own.seconds())
            begun = time.monotonic()
            checkpoints.save(
                turn, own.state.params, {"state": own.state.optimiser, "step": own.state.step}, {}
            )
            held.append(time.monotonic() - begun)
            beside.append(own.seconds())
            checkpoints.wait()
    interval = 60 * config_lib.TrainConfig().checkpoint_minutes
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(own.state))
    share = (
        statistics.median(held) + statistics.median(beside) - statistics.median(alone)
    ) / interval
    return {
        "held": held,
        "step_beside": beside,
        "step_alone": alone,
        "interval": interval,
        "bytes": size,
        "share": share,
    }


def main() -> None:
    """Measures and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument(
        "--parts", default="hosts,mesh,saves,restart", help="which of them, separated by commas"
    )
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    parts = flags.parts.split(",")
    batches = (
        workload.packed_rows(setting.train_problems(), setting.tokenizer, 2, 512, 4)
        if {"mesh", "saves"} & {*parts}
        else []
    )
    os.environ.update(setting.environment)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        measure = {
            "hosts": lambda: hosts(work, flags.rounds),
            "mesh": lambda: mesh(setting, batches, flags.rounds),
            "saves": lambda: saves(setting, batches, work, flags.rounds),
            "restart": lambda: restart(work, flags.rounds),
        }
        found = {}
        for part in parts:
            found[part] = measure[part]()
            print(f"{part}: {found[part]}", flush=True)
    results.write("overheads", setting.threads, {**setting.facts(), **found}, flags.results)


if __name__ == "__main__":
    flags_lib.guarded(main)
