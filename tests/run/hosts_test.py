"""How a process finds its place in a job, how known work is shared, and what processes agree on
without JAX's own store.
"""

import jax
import numpy as np
import pytest

from verifier.errors import ConfigError
from verifier.run import hosts


class Store:
    """The run's key-value store."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value):
        if self.values.setdefault(key, value) != value:
            raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")

    def blocking_key_value_get(self, key, milliseconds):
        return self.values[key]

    def key_value_try_get(self, key):
        if key not in self.values:
            raise jax.errors.JaxRuntimeError("NOT_FOUND")
        return self.values[key]


@pytest.mark.parametrize("ahead", [-2, -1, 0, 1, 2])
def test_what_is_due_every_so_often_is_due_after_the_same_steps_in_all(monkeypatch, ahead):
    store, clock, process = Store(), [0.0], [0]
    monkeypatch.setattr(hosts, "_client", lambda: store)
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.jax, "process_index", lambda: process[0])
    monkeypatch.setattr(hosts.time, "monotonic", lambda: clock[0])
    due = [hosts.Every("save", 1.0), hosts.Every("save", 1.0)]
    steps = [[], []]
    for step in range(1, 200):
        clock[0] += 5.0
        for process[0], own in ((0, step), (1, step + ahead)):
            if own > 0 and due[process[0]](own):
                steps[process[0]].append(own)
    both = [[step for step in each if step < 190] for each in steps]
    # a minute is twelve steps, and some more until all know
    assert both[0] == both[1] and 9 <= len(both[0]) <= 15


def test_alone_it_is_due_by_the_clock(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(hosts.time, "monotonic", lambda: clock[0])
    due, never = hosts.Every("save", 0.5), hosts.Every("never", 0.0)
    found = []
    for step in range(100):
        clock[0] = float(step)
        assert not never(step)
        if due(step):
            found.append(step)
    assert found == [30, 60, 90]


JAX = {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


@pytest.mark.parametrize(
    "flags, environ, found",
    [
        (hosts.Cluster(), {}, None),
        (hosts.Cluster("a:1", 2, 1), JAX, hosts.Cluster("a:1", 2, 1)),
        (hosts.Cluster("a:1", 1, 0), {}, None),
        (hosts.Cluster(), JAX, hosts.Cluster("a:1", 4, 3)),
        (hosts.Cluster(), {"SLURM_STEP_NUM_TASKS": "8"}, hosts.Cluster()),
        # an interactive allocation
        (hosts.Cluster(), {"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1"}, None),
    ],
)
def test_a_process_finds_its_place(flags, environ, found):
    assert hosts.find(flags, environ, on_tpu=False) == found
    assert hosts.find(flags, environ, on_tpu=True) == (
        found or (None if flags.num_processes == 1 else hosts.Cluster())
    )


@pytest.mark.parametrize(
    "flags, environ, words",
    [
        (hosts.Cluster("a:1"), {}, "--num_processes and --process_id belong together"),
        (hosts.Cluster("a:1", 2, 2), {}, "process 2 of 2"),
        (hosts.Cluster(), {"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES"),
        (hosts.Cluster(), {**JAX, "JAX_PROCESS_ID": "first"}, "as numbers"),
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
