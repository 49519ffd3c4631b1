"""What every test run shares: tests compile much and compute little, so the compiler may take it easy."""

import os

os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tests.stores import bucket  # noqa: E402, F401  a fixture of several files; after the settings, which JAX reads once
