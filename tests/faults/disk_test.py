"""A disk that is full ends every stage with one line that says so, and the run goes on once there is room."""

import errno
import os
import pathlib
import subprocess

import pytest

from tests.faults import runs
from tests.shrunk import config
from verifier import pipeline
from verifier.config import UserError

STAGES = tuple(pipeline.STAGES)


@pytest.fixture
def small(tmp_path):
    """A file system of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.name != "posix" or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no right to mount a file system in memory here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: pathlib.Path, left: int) -> pathlib.Path:
    """A file that takes all room but `left` bytes."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        file.truncate(max(file.tell() - left, 0))
    return path


@pytest.mark.parametrize("left", [0, 30_000])
def test_every_stage_says_so_and_goes_on(finished, small, left, capfd):
    root = small / "work"
    for stage in STAGES:
        filler = fill(small, left)
        with pytest.raises(UserError, match=r"(?s)cannot be written.*make room"):
            pipeline.run(config(*runs.CHECKPOINTS), root, [stage])
        filler.unlink()
        pipeline.run(config(*runs.CHECKPOINTS), root, [stage])
    assert runs.differences(root, finished[0]) == []
    assert "Traceback" not in capfd.readouterr().err
