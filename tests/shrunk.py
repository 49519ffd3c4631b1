"""The demo's experiment, made so small that a whole run takes seconds; one finished run for all
tests; and the rows of its tables.
"""

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from verifier import config as config_lib
from verifier.recipes import token_verifier
from verifier.run import experiment
from verifier.run.context import Context
from verifier.stages import runner

ROOT = pathlib.Path(__file__).parents[1]
SHRUNK = """
model.weights= tokenizer.kind=sentencepiece tokenizer.vocab_size=512
model.layers=1 model.width=32 model.heads=2 model.kv_heads=2 model.mlp_width=64
data.train_problems=60 data.heldout_problems=10 data.test_problems=10
finetune.epochs=2 finetune.batch_rows=4 finetune.row_tokens=256
sample.train_problems=10 sample.train_samples=3 sample.heldout_samples=4 sample.test_samples=4
sample.rows=16 sample.max_new_tokens=24
verify.epochs=1 verify.batch_rows=4 verify.row_tokens=256 verify.group=1 score.rows=16
report.ks=[1,2,4] report.resamples=50 report.show_problems=3
""".split()


def config(*more):
    return config_lib.override(experiment.load("tiny_token_verifier"), [*SHRUNK, *more])


def context(own, root, name):
    """What the stage of a name is given."""
    stages = token_verifier.stages(own)
    (stage,) = (each for each in stages if each.name == name)
    return Context(own, root, stage, stages)


def run(own, root, names=None):
    """Runs the stages of some names in this process; None: all."""
    runner.run(token_verifier.stages(own), own, root, names)


def made_once(tmp_path_factory, name, make):
    """A folder that `make` filled for the first who asked, of all processes of this test run.

    Who wants to change it takes a copy.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root  # of all workers
    folder, done = root / name, root / f"{name}.done"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def _launch(folder):
    command = [
        sys.executable,
        "-m",
        "verifier.launch",
        "--exp=tiny_token_verifier",
        f"--workdir={folder / 'work'}",
        "--set",
        *SHRUNK,
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), timeout=600
    )
    assert done.returncode == 0, done.stderr
    (folder / "printed.txt").write_text(done.stdout)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A workdir that `python -m verifier.launch` made, and what it printed."""
    folder = made_once(tmp_path_factory, "finished", _launch)
    return folder / "work", (folder / "printed.txt").read_text()


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished workdir that a test may spoil."""
    return pathlib.Path(shutil.copytree(finished[0], tmp_path / "work"))


def rows(folder):
    table = pa.concat_tables(
        [pq.read_table(part, partitioning=None) for part in sorted(folder.glob("part-*.parquet"))]
    )
    return sorted(table.to_pylist(), key=lambda row: (row["problem_id"], row.get("sample_id", 0)))
