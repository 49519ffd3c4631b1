"""A run that is killed, stopped or started twice ends as one that was left alone.

`make faults` is the long version.
"""

import json
import random
import signal
import time

import pytest

from tests.faults import runs
from verifier.system import stopping


@pytest.fixture
def never(finished):
    """A run that was left alone, and saved nothing on the way."""
    return finished[0]


def steps_of(root, job):
    path = root / f"logs/{job}.jsonl"
    return path.read_text().count('"loss"') if path.exists() else 0


def test_killed_at_random_moments_it_ends_the_same(never, tmp_path):
    stages = runs.killed(
        tmp_path / "work", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], random.Random(0), 5.0
    )
    runs.finish(tmp_path / "work")
    assert stages.total() and runs.differences(tmp_path / "work", never) == []


def test_asked_to_stop_it_saves_says_so_and_goes_on(never, tmp_path):
    root = tmp_path / "work"
    run = runs.begin(root, "--stages=finetune")
    while steps_of(root, "finetune") < 3 and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=120)
    assert run.returncode == stopping.SAVED_STATUS, said
    done = int(said.rsplit("stopped: finetune after step ", 1)[1].split()[0])
    assert (root / f"generator/finetune-checkpoints/{done}").is_dir()
    runs.finish(root, "--stages=finetune")
    assert runs.losses(root, "finetune") == runs.losses(never, "finetune")
    assert runs.model_id(root, "generator") == runs.model_id(never, "generator")


def test_a_second_run_on_the_same_workdir_is_refused(copy):
    (copy / "report" / "metrics.json").unlink()
    first = runs.begin(copy, "--stages=report")
    second = runs.begin(copy, "--stages=report")
    said = [run.communicate(timeout=120)[1] for run in (first, second)]
    refused = [run.returncode for run in (first, second)]
    assert 0 in refused
    for status, words in zip(refused, said, strict=True):
        if status:
            assert "is in use by another run" in words
    assert json.loads((copy / "report" / "metrics.json").read_text())
