"""What every test run shares: tests compile much and compute little, so the compiler may take it
easy.
"""

import gc
import os

# Emitters of fused loops make fast programs, and take half of the time to compile one. Of what is
# left, a third goes into LLVM's expensive passes and into parts of a program compiled side by side.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
    " --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The same small programs come again in other workers, in processes that tests start, and after
# caches were let go.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import hypothesis  # noqa: E402
import jax  # noqa: E402  after the settings, which it reads once
import pytest  # noqa: E402

from tests.shrunk import copy, finished  # noqa: E402, F401  fixtures of several files
from tests.stores import bucket  # noqa: E402, F401
from verifier.decode import memory, shared_pages  # noqa: E402

# A compiler's many objects would be looked through again and again, all modules among them.
gc.set_threshold(50_000, 20, 20)
gc.freeze()

# No test rests on timing: an example may take its time where others have the cores.
hypothesis.settings.register_profile(
    "any_machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any_machine")

MOST_MAPS = 20_000  # of some 65,000 that Linux lets a process have
# _test.py
_LONG = (
    "plan",
    "v_star",
    "quiet_star",
    "engine",
    "runner",
    "driver",
    "faults",
    "transformer",
    "stored_workdir",
    "cache",
    "search",
    "star_loops",
    "folds",
    "lora",
    "sampling",
    "training",
    "hosts_killed",
    "trees",
    "losses",
    "growing",
    "two_loops",
    "disk",
    "export",
    "step",
    "loop",
    "judge",
    "sweep",
    "rollouts",
    "rerank",
)


def pytest_collection_modifyitems(items):
    """The longest files first: one that begins late would end long after all others."""
    place = {f"{name}_test.py": place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(_LONG)))


@pytest.fixture(autouse=True, scope="module")
def programs_are_let_go():
    """A process may map only so many pieces of memory, and XLA ends it where programs want more."""
    yield
    with open("/proc/self/maps") as maps:
        if sum(1 for _ in maps) > MOST_MAPS:
            jax.clear_caches()


@pytest.fixture
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that follow what there is are the engine's own tests' matter: here each of them would
    only be one more program to compile.
    """
    needed, size, room = shared_pages.needed, memory.pool_size, memory.prompt_room
    monkeypatch.setattr(
        shared_pages, "needed", lambda page_BM, pages, _: needed(page_BM, pages, 32) or 32
    )
    monkeypatch.setattr(memory, "pool_size", lambda sizes, pages: size(sizes, max(pages, 96)))
    monkeypatch.setattr(memory, "prompt_room", lambda tokens, most=None: most or room(tokens))
