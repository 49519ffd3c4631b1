"""Two real processes of four virtual devices each do what one process does. Each test starts `verifier.launch`, as a host would."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.shrunk import ROOT, SHRUNK, rows
from verifier import hosts
from verifier.config import ConfigError

SETTINGS = [*SHRUNK, "finetune.batch_rows=8", "verify.batch_rows=8", "sample.rows=64"]


def begin(root, *more, processes=1, devices=1):
    """Starts the experiment in so many processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "verifier.launch", "--exp=tiny_token_verifier", f"--workdir={root}", *more]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    started = []
    for process in range(processes):
        job = [f"--coordinator_address={address}", f"--num_processes={processes}", f"--process_id={process}"] if processes > 1 else []
        whole = [*command, *job, "--set", *SETTINGS]
        started.append(subprocess.Popen(whole, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    return started


def finish(started):
    """What each process printed, when all have ended well."""
    found = [each.communicate(timeout=600) for each in started]
    for each, (_, errors) in zip(started, found, strict=True):
        assert each.returncode == 0, errors[-3000:]
    return found


def start(root, *more, processes=1, devices=1):
    """Runs the experiment in so many processes to its end; what each printed."""
    return finish(begin(root, *more, processes=processes, devices=devices))


def losses(root, job):
    return [line["loss"] for line in map(json.loads, (root / f"logs/{job}.jsonl").read_text().splitlines()) if "loss" in line]


def assert_same_tokens(work, alone):
    for split in ("train", "heldout", "test", "test_greedy"):
        here, there = (rows(root / f"tables/samples/split={split}") for root in (work, alone))
        for ours, theirs in zip(here, there, strict=True):
            assert ours["tokens"] == theirs["tokens"] and ours["problem_id"] == theirs["problem_id"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    root = tmp_path_factory.mktemp("alone") / "work"
    start(root)
    return root


def test_two_hosts_train_as_one_does(alone, tmp_path):
    found = start(tmp_path / "work", "--stages=finetune", processes=2, devices=4)
    np.testing.assert_allclose(losses(tmp_path / "work", "finetune"), losses(alone, "finetune"), rtol=1e-4)
    assert "finetune" in found[0][1] and "finetune:" not in found[1][1]  # the second host is silent


def test_two_hosts_sample_and_score_what_one_does(alone, tmp_path):
    work = pathlib.Path(shutil.copytree(alone, tmp_path / "work"))
    for name in ("samples", "labels", "scores"):
        shutil.rmtree(work / "tables" / name)
    shutil.rmtree(work / "report")
    start(work, "--stages=sample,label", processes=2, devices=4)
    assert_same_tokens(work, alone)
    parts = sorted((work / "tables/samples/split=train").glob("part-*.parquet"))
    assert len(parts) == 2  # one of each host
    start(work, "--stages=label,verify,score,report", processes=2, devices=4)
    for split in ("heldout", "test"):
        here, there = (rows(root / f"tables/scores/split={split}") for root in (work, alone))
        np.testing.assert_allclose([row["score"] for row in here], [row["score"] for row in there], atol=2e-3)
    metrics = [json.loads((root / "report/metrics.json").read_text())["splits"]["test"] for root in (work, alone)]
    assert metrics[0]["mean_sample_accuracy"] == metrics[1]["mean_sample_accuracy"]


@pytest.mark.parametrize("dies", [0, 1])
def test_when_one_host_is_killed_the_other_ends_and_a_restart_goes_on(alone, tmp_path, dies):
    work = tmp_path / "work"
    shutil.copytree(alone / "generator", work / "generator")
    shutil.copytree(alone / "tables/problems", work / "tables/problems")
    started = begin(work, "--stages=sample", processes=2)
    while not list(work.glob("tables/samples/*/unfinished.json")) and all(each.poll() is None for each in started):
        time.sleep(0.05)
    started[dies].kill()
    killed = time.monotonic()
    said = started[1 - dies].communicate(timeout=300)[1]
    assert started[1 - dies].returncode != 0
    assert time.monotonic() - killed < 60, said[-3000:]
    started[dies].communicate()
    start(work, "--stages=sample", processes=2)
    assert_same_tokens(work, alone)


JAX = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


@pytest.mark.parametrize(
    "flags, environ, found",
    [
        (hosts.Job(), {}, None),
        (hosts.Job("a:1", 2, 1), JAX, hosts.Job("a:1", 2, 1)),
        (hosts.Job("a:1", 1, 0), {}, None),
        (hosts.Job(), JAX, hosts.Job("a:1", 4, 3)),
        (hosts.Job(), {"SLURM_STEP_NUM_TASKS": "8"}, hosts.Job()),
        (hosts.Job(), {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"}, None),  # an interactive allocation
    ],
)
def test_a_process_finds_its_place(flags, environ, found):
    assert hosts.find(flags, environ, on_tpu=False) == found
    assert hosts.find(flags, environ, on_tpu=True) == (found or (None if flags.num_processes == 1 else hosts.Job()))


@pytest.mark.parametrize(
    "flags, environ, words",
    [
        (hosts.Job("a:1"), {}, "--num_processes and --process_id belong together"),
        (hosts.Job("a:1", 2, 2), {}, "process 2 of 2"),
        (hosts.Job(), {"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES"),
        (hosts.Job(), {**JAX, "JAX_PROCESS_ID": "first"}, "as numbers"),
    ],
)
def test_half_a_place_is_refused(flags, environ, words):
    with pytest.raises(ConfigError, match=words):
        hosts.find(flags, environ, on_tpu=False)


def test_known_work_is_shared_evenly_and_all_of_it(monkeypatch):
    sizes = np.random.default_rng(0).integers(1, 100, 57).tolist()
    shares = []
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 3)
    for process in range(3):
        monkeypatch.setattr(hosts.jax, "process_index", lambda process=process: process)
        shares.append(hosts.share(sizes))
    assert sorted(place for own in shares for place in own) == list(range(57))
    loads = [sum(sizes[place] for place in own) for own in shares]
    assert max(loads) - min(loads) <= max(sizes)
