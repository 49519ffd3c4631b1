"""When one of two processes is killed the other ends, and a restart draws the same tokens."""

import shutil
import time

import pytest

from tests.mesh.processes import assert_same_tokens, begin, start


@pytest.mark.parametrize("dies", [0, 1])
def test_when_one_host_is_killed_the_other_ends_and_a_restart_goes_on(alone, tmp_path, dies):
    work = tmp_path / "work"
    shutil.copytree(alone / "generator", work / "generator")
    shutil.copytree(alone / "tables/problems", work / "tables/problems")
    started = begin(work, "--stages=sample", processes=2)
    while not list(work.glob("tables/samples/*/unfinished.json")) and all(
        each.poll() is None for each in started
    ):
        time.sleep(0.05)
    started[dies].kill()
    killed = time.monotonic()
    said = started[1 - dies].communicate(timeout=300)[1]
    assert started[1 - dies].returncode != 0
    assert time.monotonic() - killed < 60, said[-3000:]
    started[dies].communicate()
    start(work, "--stages=sample", processes=2)
    assert_same_tokens(work, alone)
