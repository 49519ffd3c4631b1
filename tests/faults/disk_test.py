"""A disk that is full ends every stage with one line that says so, and the run goes on once there
is room.
"""

import errno
import gc
import os
import pathlib
import subprocess
import sys
import types

import jax.numpy as jnp
import pytest

from tests.faults import runs
from tests.shrunk import config, run
from verifier.errors import UserError
from verifier.recipes import token_verifier
from verifier.train import checkpoint

STAGES = [each.name for each in token_verifier.stages(config()) if not each.implied]


@pytest.fixture
def small(tmp_path, request):
    """A file system of 64 MB, or of another size."""
    folder = tmp_path / "small"
    folder.mkdir()
    size = f"size={getattr(request, 'param', '64m')}"
    if (
        os.name != "posix"
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True
        ).returncode
    ):
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
            run(config(*runs.CHECKPOINTS), root, [stage])
        filler.unlink()
        run(config(*runs.CHECKPOINTS), root, [stage])
    assert runs.differences(root, finished[0]) == []
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("small", ["64k"], indirect=True)
def test_files_of_a_checkpoint_that_fail_after_it_was_given_up_are_silent(small, monkeypatch):
    """They are written at once: each of them fails by itself, and reports to a loop that is closed
    by then.
    """
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", lambda each: heard.append(each.exc_value))
    params = {f"part {n}": jnp.ones((100, 100)) for n in range(20)}
    with (
        pytest.raises(UserError, match="cannot be written.*make room"),
        checkpoint.Checkpoints(small / "checkpoints") as checkpoints,
    ):
        checkpoints.save(1, params, params, {})
        checkpoints.wait()
    gc.collect()
    assert heard == []
    sys.unraisablehook(types.SimpleNamespace(exc_value=ValueError("another")))
    assert len(heard) == 1
