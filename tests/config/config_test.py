"""Knobs: overriding, refusing, comparing."""

import dataclasses
import json
import pathlib
import random

import numpy as np
import pytest

from verifier import config as config_lib
from verifier import errors
from verifier.config import Config, differences, flatten, kinds, override, settings_of
from verifier.config.checks import check, warnings
from verifier.errors import ConfigError
from verifier.grading import graders, rationales
from verifier.tasks import generated, sources
from verifier.text import few_shot


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
        ("seed= +1_000 ", "seed", 1000),
        ("finetune.learning_rate=1e-4", "finetune.learning_rate", 1e-4),
        ("finetune.dropout=.5", "finetune.dropout", 0.5),
        ("finetune.remat=Yes", "finetune.remat", True),
        ("finetune.remat=y", "finetune.remat", True),
        ("ood.sets=[]", "ood.sets", []),
        (
            """ood.dirs=[ some folder , "a, \\"b\\"", 'it''s [1]', ${HOME}, ]""".replace(
                "${HOME}", "$HOME"
            ),
            "ood.dirs",
            ["some folder", 'a, "b"', "it's [1]", "$HOME"],
        ),
        ("data.dir=???", "data.dir", "???"),
        ("model.weights=${oc.env:HOME}", "model.weights", "${oc.env:HOME}"),
        ("log.wandb=&anchor *alias !!int 3", "log.wandb", "&anchor *alias !!int 3"),
        ("name=null", "name", "null"),
    ],
)
def test_values_get_the_declared_type(assignment, path, value):
    assert flatten(override(Config(), [assignment]))[path] == value


def test_every_knob_takes_its_own_default():
    for path, value in flatten(Config()).items():
        text = json.dumps(value) if isinstance(value, list) else str(value)
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
        ("sample.rows=???", "a whole number"),
        ("seed=${name}", "a whole number"),
        ("seed=true", "a whole number"),
        ("seed=" + "9" * 5000, r"\(5,007 characters\): expected a whole number"),
        ("report.ks=[1,3", "a list"),
        ("report.ks=[1,,3]", "commas between them"),
        ("report.ks=[[1]]", "in quotes where they hold"),
        ('ood.dirs=["a]', "at '\"a'"),
        ('ood.dirs=["\\x"]', "as in JSON"),
        ("sample.temperature=0x1p3", "a number"),
        ("sample.temperature=nan", "a number"),
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
        ("finetune.epochs=1e9", "to 10,000"),
        ("sample.train_samples=10000000000", "to 1,000,000"),
        ("model.layers=100000", "to 1,000"),
        ("label.grader_seconds=1e300", "to 86,400"),
        ("data.name=gsm", "gsm8k"),
        ("data.kinds=[gues]", "guess"),
        ("data.kinds=[]", "at least one"),
        ("report.ks=[" + "1," * 1001 + "]", "at most 1,000 entries"),
        ("finetune.batch_rows=1000000", "tokens a step"),
        ("mesh.fsdp=-1", "only one may be -1"),
        ("mesh.fsdp=0", "-1, or from 1"),
        ("data.dir=a\0b", "null"),
        ("name=\udcff", "UTF-8"),
        ("distill.tau=0", "above 0"),
    ],
)
def test_values_that_no_stage_could_use_are_refused(assignment, message):
    with pytest.raises(ConfigError, match=message):
        check(override(Config(), [assignment]))


def test_spans_need_texts_that_are_equal():
    asked = ["finetune.loss=match_spans", "distill.align=dtw"]
    with pytest.raises(ConfigError, match="distill.align=bytes"):
        check(override(Config(), asked))
    check(override(Config(), asked[:1]))


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
    one = [
        "sample.temperature=0",
        "sample.train_samples=1",
        "sample.heldout_samples=1",
        "sample.test_samples=1",
    ]
    assert warnings(override(Config(), one)) == []


@pytest.mark.parametrize("path", config_lib.knobs())
def test_a_knob_takes_the_ends_of_its_range_and_nothing_beyond(path):
    """Numbers have a range, so that none overflows; NaN lies in none."""
    declared = config_lib.knobs()[path]
    kind, limits = kinds._parts(kinds._of_entries(declared) or declared)
    if kind not in (int, float):
        return
    assert isinstance(limits, kinds.Range), f"{path} takes any number"
    beyond = [
        limits.low - 1,
        limits.high + 1,
        limits.high * 10**30,
        float("inf"),
        float("-inf"),
        float("nan"),
    ]
    assert not any(limits.takes(value) for value in beyond if value != limits.off)
    assert (
        limits.takes(limits.low) is not limits.above
        and limits.takes(limits.high) is not limits.below
    )


_PIECES = [
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    "${",
    "${x}",
    "&a",
    "*a",
    "!!int",
    "???",
    "~",
    "null",
    ".inf",
    "nan",
    "1e999",
    "-",
    "1",
    "1e5",
    ",",
    ":",
    "\\",
    "\n",
    "\0",
    "\udcff",
    "%",
    "#",
    "|",
    "9" * 30,
    "9" * 5000,
    "0x1f",
    "\u0661",
    "=",
    " ",
    "a",
    "true",
]


def test_no_value_ends_in_anything_but_a_line_or_a_knob():
    draw = random.Random(0)
    paths = list(config_lib.knobs())
    refused = 0
    for _ in range(200):
        text = "".join(draw.choice(_PIECES) for _ in range(draw.randrange(5)))
        try:
            check(
                override(
                    Config(), [f"{draw.choice(paths)}={draw.choice(('{}', '[{}]')).format(text)}"]
                )
            )
        except ConfigError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 700  # 27 names at most
    assert refused > 100


def test_values_of_a_program_become_those_of_the_shell():
    written = Config(
        seed=np.int64(3),
        data=config_lib.DataConfig(dir=pathlib.Path("some/folder")),
        finetune=config_lib.FinetuneConfig(epochs=2),
        report=config_lib.ReportConfig(ks=[1, 2]),
    )
    read = override(
        Config(), ["seed=3", "data.dir=some/folder", "finetune.epochs=2", "report.ks=[1,2]"]
    )
    settled = override(written, [])
    assert (
        settled == read
        and isinstance(settled.finetune.epochs, float)
        and isinstance(settled.report.ks, tuple)
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            Config(finetune=config_lib.FinetuneConfig(epochs="many")),
            r"finetune\.epochs='many': expected a number from 0",
        ),
        (Config(seed=True), "seed=True: expected a whole number"),
        (Config(finetune={"epochs": 1}), r"finetune=\{'epochs': 1\}: expected a FinetuneConfig"),
        (Config(finetune=config_lib.FinetuneConfig(epochs=10**400)), r"finetune\.epochs=1000"),
        (
            Config(report=config_lib.ReportConfig(ks=(1.5,))),
            r"report\.ks=\[1\.5\]: expected a whole number",
        ),
    ],
)
def test_values_of_a_program_that_are_of_another_type_are_named(config, message):
    with pytest.raises(ConfigError, match=message):
        check(config)


def test_choices_by_name_are_those_that_the_knob_declares():
    assert set(config_lib.choices("data.kinds")) == set(generated.KINDS)
    assert config_lib.choices("data.name") == tuple(sources.SOURCES)
    assert set(config_lib.choices("data.test_name")) == {*sources.SOURCES, ""}
    further = {*sources.FOR_TESTING, "gsm8k", *generated.KINDS}
    assert set(config_lib.choices("ood.sets")) == further
    assert config_lib.choices("label.grader") == graders.NAMES
    assert config_lib.choices("select.formats") == tuple(few_shot.FORMATS)
    assert config_lib.choices("distill.teacher_format") == ("plain", *few_shot.FORMATS)
    assert set(config_lib.choices("step_by_step.style")) == set(rationales.STYLES)
    assert set(config_lib.choices("step_by_step.unlabelled")) == {*sources.WITH_EQUATIONS, ""}


def test_the_errors_of_knobs_can_be_imported_beside_them():
    assert config_lib.UserError is errors.UserError
    assert config_lib.ConfigError is ConfigError
