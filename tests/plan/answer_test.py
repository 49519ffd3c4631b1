"""The plan as a user reads it: a column a stage, a verdict, a way out of what does not fit, and no
stage that would not run.
"""

import jax
import pytest

from tests.plan import planned
from tests.shrunk import config
from verifier.errors import ConfigError
from verifier.model import attention
from verifier.plan import advice, answer, devices

ONE = devices.parse("h100-1")


def column(text, name):
    """The cells of a row of the table."""
    return next(line[20:].split() for line in text.splitlines() if line.startswith(name))


def test_every_stage_has_its_column_and_its_verdict():
    text = planned.answer(config(), ONE, ["finetune", "sample", "score"])
    assert column(text, "a device, GB") == ["finetune", "sample", "score"]
    assert column(text, "  fits") == ["yes"] * 3
    assert all(float(hours) > 0 for hours in column(text, "hours"))
    assert "does not fit" not in text


def test_jobs_that_the_run_skips_are_not_planned_unless_asked_for():
    names = column(
        planned.answer(config("finetune.epochs=0", "verify.epochs=0"), ONE, None), "a device, GB"
    )
    assert names == ["sample", "score"]
    assert column(
        planned.answer(config("finetune.epochs=0"), ONE, ["finetune"]), "a device, GB"
    ) == ["finetune"]


def test_slots_that_fill_what_there_is_are_told_to_take_less_of_it():
    """With sample.rows=0 there is no number of slots to lower."""
    found = planned.read(config("sample.rows=0", "sample.memory_gib=0.02"))
    total = planned.plan(found, "sample", ONE).total
    tight = devices.Devices(
        1, 1, devices.Kind("small", "tpu", 1.0, total * 0.95 / advice.USABLE / 1e9, 1.0, 1)
    )
    assert planned.ways_out(found, "sample", tight).startswith("--set sample.memory_gib=")


def test_a_device_alone_is_planned_as_an_accelerator(monkeypatch):
    """It attends to all rows at once, where a CPU would take few at a time."""
    held = []
    for cached in (2**40, 1):
        monkeypatch.setattr(attention, "_SCORES_IN_CACHE", cached)
        held.append(
            planned.plan(
                planned.read(config(f"report.resamples={9 + len(held)}")), "score", ONE
            ).held["temporaries"]
        )
        jax.clear_caches()
    assert held[0] == held[1]


def test_stages_without_a_model_and_meshes_without_three_axes_are_refused():
    with pytest.raises(ConfigError, match="nothing is planned for 'label'"):
        planned.answer(config(), ONE, ["label"])
    with pytest.raises(ConfigError, match=r"--mesh=1,2: expected three numbers"):
        answer.mesh("1,2")
    with pytest.raises(ConfigError, match=r"--devices is missing.*mesh\.fsdp=-1"):
        answer.devices_of(config("mesh.fsdp=-1").mesh)
