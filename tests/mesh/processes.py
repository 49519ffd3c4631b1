"""Starts `verifier.launch` as hosts would: real processes of one job, on one machine."""

import dataclasses
import json
import os
import socket
import subprocess
import sys

import pytest

from tests.decode.near_ties import Drawn
from tests.shrunk import ROOT, SHRUNK, config, context, made_once, rows
from verifier.run import model_folder

STARTED: list[subprocess.Popen] = []  # by the test that is running
SETTINGS = [*SHRUNK, "finetune.batch_rows=8", "verify.batch_rows=8", "sample.rows=64"]


def begin(root, *more, processes=1, devices=1, settings=()):
    """Starts the experiment in so many processes.

    settings: that differ from `SETTINGS`.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "verifier.launch",
        "--exp=tiny_token_verifier",
        f"--workdir={root}",
        *more,
    ]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    started = []
    for process in range(processes):
        job = (
            [
                f"--coordinator_address={address}",
                f"--num_processes={processes}",
                f"--process_id={process}",
            ]
            if processes > 1
            else []
        )
        whole = [*command, *job, "--set", *SETTINGS, *settings]
        started.append(
            subprocess.Popen(
                whole,
                cwd=ROOT,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )
        STARTED.append(started[-1])
    return started


def finish(started):
    """What each process printed, when all have ended well."""
    found = [each.communicate(timeout=600) for each in started]
    for each, (_, errors) in zip(started, found, strict=True):
        assert each.returncode == 0, errors[-3000:]
    return found


def start(root, *more, processes=1, devices=1, settings=()):
    """Runs the experiment in so many processes to its end; what each printed."""
    return finish(begin(root, *more, processes=processes, devices=devices, settings=settings))


def losses(root, job):
    return [
        line["loss"]
        for line in map(json.loads, (root / f"logs/{job}.jsonl").read_text().splitlines())
        if "loss" in line
    ]


def assert_same_tokens(work, alone):
    """The same samples in both workdirs, but for near ties; their generator is the same."""
    generator = model_folder.load(alone / "generator", "finetune", "float32")
    at_work = context(config(), alone, "sample")
    for split in at_work.stage.splits:
        knobs = at_work.config.sample
        if split.greedy:
            knobs = dataclasses.replace(knobs, temperature=0.0)
        asked = at_work.problems("problems", split)
        prompts = {each.problem_id: at_work.prompt_ids(each, generator.tokenizer) for each in asked}
        drawn_with = Drawn(
            generator.model, generator.tokenizer.vocab_size, prompts, at_work.config.seed, knobs
        )
        pair = (rows(root / f"tables/samples/split={split}") for root in (work, alone))
        drawn_with.parted(
            *(
                {(row["problem_id"], row["sample_id"]): row["tokens"] for row in each}
                for each in pair
            )
        )


@pytest.fixture(scope="session")
def alone(tmp_path_factory):
    """A run that one process made."""
    return made_once(tmp_path_factory, "alone", lambda folder: start(folder / "work")) / "work"
