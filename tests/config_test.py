"""Knobs: overriding, refusing, comparing."""

import dataclasses

import pytest

from verifier.config import Config, ConfigError, differences, flatten, override, settings_of
from verifier.config_checks import check, warnings


def test_override_changes_one_knob_and_nothing_else():
    before = Config()
    after = override(before, ["sample.temperature=0.25"])
    changed = {path for path, value in flatten(after).items() if flatten(before)[path] != value}
    assert changed == {"sample.temperature"}
    assert after.sample.temperature == 0.25
    assert before == Config()


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("finetune.epochs=3", "finetune.epochs", 3.0),
        ("report.ks=[1,2]", "report.ks", [1, 2]),
        ("data.kinds=[guess]", "data.kinds", ["guess"]),
        ("data.dir=007", "data.dir", "007"),
        ("data.dir=it's: here", "data.dir", "it's: here"),
        ("data.prompt_template=Q: {question}\nA:", "data.prompt_template", "Q: {question}\nA:"),
        ("sample.calculator=false", "sample.calculator", False),
        ("seed=3", "seed", 3),
    ],
)
def test_values_get_the_declared_type(assignment, path, value):
    assert flatten(override(Config(), [assignment]))[path] == value


def test_every_knob_takes_its_own_default():
    for path, value in flatten(Config()).items():
        text = str(value).replace("'", "") if isinstance(value, list) else str(value)
        assert flatten(override(Config(), [f"{path}={text}"]))[path] == value


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("sample.temprature=1", "sample.temperature"),
        ("temperature=1", "sample.temperature"),
        ("sample=1", "sample.rows"),
        ("sample.temperature=warm", "a number that is 0, or from 0.01 to 100"),
        ("sample.rows=1.5", "a whole number from 0 to"),
        ("sample.greedy=perhaps", "true or false"),
        ("report.ks=3", r"a list such as \[1,3\]"),
        ("nonsense", "path=value"),
    ],
)
def test_a_typo_is_answered_with_a_way_out(assignment, message):
    with pytest.raises(ConfigError, match=message):
        override(Config(), [assignment])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("verify.head=linaer", "linear"),
        ("sample.max_new_tokens=0", "from 1 to"),
        ("finetune.dropout=1", "from 0 and below 1"),
        ("sample.top_p=0", "top_p"),
        ("sample.temperature=-1", "0, or from 0.01"),
        ("report.ks=[]", "ks"),
        ("report.ks=[0]", "ks"),
        ("finetune.accumulate=5", "accumulate"),
        ("model.heads=3", "model.width"),
        ("model.width=12", "even width"),
        ("sample.temperature=1e-9", "0, or from 0.01"),
        ("sample.max_new_tokens=2000", "model.context"),
        ("label.grader=numerical", "numeric"),
        ("ood.sets=[svmap]", "svamp"),
        ("ood.sets=[svamp,svamp]", "twice"),
        ("ood.dirs=[somewhere]", "1 folders for the 0 sets"),
        ("verify.weights=elsewhere", "verify.init=base"),
    ],
)
def test_values_that_no_stage_could_use_are_refused(assignment, message):
    with pytest.raises(ConfigError, match=message):
        check(override(Config(), [assignment]))


def test_the_defaults_pass_the_check():
    check(Config())


def test_differences_name_what_changed_and_what_is_gone():
    old, new = {"a": 1, "b": 2, "gone": 3}, {"a": 1, "b": 4, "fresh": 5}
    lines = differences(old, new)
    assert len(lines) == 3
    assert all(any(line.startswith(name) for line in lines) for name in ("b:", "gone:", "fresh:"))
    assert differences(new, dict(new)) == []


def test_sections_are_taken_whole():
    assert settings_of(Config(seed=5), "seed") == {"seed": 5}
    taken = settings_of(Config(), "sample")
    assert set(taken) == {f"sample.{field.name}" for field in dataclasses.fields(Config().sample)}


def test_identical_samples_are_warned_of():
    assert warnings(Config()) == []
    (line,) = warnings(override(Config(), ["sample.temperature=0"]))
    assert "all 100 solutions of a problem the same" in line
    one = ["sample.temperature=0", "sample.train_samples=1", "sample.heldout_samples=1", "sample.test_samples=1"]
    assert warnings(override(Config(), one)) == []
