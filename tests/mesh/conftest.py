"""These tests need eight devices, which a CPU pretends to have when it is asked before JAX starts."""

import jax
import pytest

from tests.mesh.processes import alone  # noqa: F401  a fixture of several files


@pytest.fixture(autouse=True, scope="session")
def eight_devices():
    if jax.device_count() < 8:
        pytest.fail("these tests need JAX_NUM_CPU_DEVICES=8 in the environment, as `make test` sets it", pytrace=False)
