"""These tests need eight devices, which a CPU pretends to have when it is asked before JAX
starts.
"""

import jax
import pytest

from tests.mesh import processes
from tests.mesh.processes import alone  # noqa: F401  a fixture of several files


@pytest.fixture(autouse=True, scope="session")
def eight_devices():
    if jax.device_count() < 8:
        pytest.fail(
            "these tests need JAX_NUM_CPU_DEVICES=8 in the environment, as `make test` sets it",
            pytrace=False,
        )


@pytest.fixture(autouse=True)
def no_process_is_left():
    """Whatever a test ends with, the processes that it started have ended, too."""
    yield
    left = [each for each in processes.STARTED if each.poll() is None]
    for each in left:
        each.kill()
        each.communicate()
    processes.STARTED.clear()
    assert not left, f"{len(left)} processes were still at work when the test had ended"
