"""What processes agree on without JAX's own store: the same steps in all, whoever is ahead."""

import jax
import pytest

from verifier import hosts


class Store:
    """The run's key-value store."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value):
        if self.values.setdefault(key, value) != value:
            raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")

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
    assert both[0] == both[1] and 9 <= len(both[0]) <= 15  # a minute is twelve steps, and some more until all know


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
