"""Every experiment that ships loads, has sound settings and says what it costs."""

import pathlib
import sys

import pytest

from experiments import tiny_ablations
from verifier import config as config_lib
from verifier import errors
from verifier.config import checks as config_checks
from verifier.data import batches
from verifier.recipes import token_verifier
from verifier.run import experiment
from verifier.stages import sweep
from verifier.tasks import sources
from verifier.text.problem import Template
from verifier.text.tokenizer import load_tokenizer
from verifier.train.losses import lm


@pytest.mark.parametrize("name", experiment.names())
def test_an_experiment_loads_and_its_settings_pass_the_check(name):
    config = experiment.load(name)
    config_checks.check(config)
    assert config.name == name


@pytest.mark.parametrize("name", experiment.names())
def test_weights_that_ship_with_an_experiment_are_there(name):
    module = experiment._module(name)
    variants = module.get_sweep() if hasattr(module, "get_sweep") else {}
    configs = [
        config_lib.override(module.get_config(), one)
        for theme in ({"": {"": []}} | variants).values()
        for one in theme.values()
    ]
    for weights in {
        weights for config in configs for weights in (config.model.weights, config.verify.weights)
    }:
        if pathlib.Path(weights).is_absolute():
            assert (pathlib.Path(weights) / "config.json").is_file(), weights


@pytest.mark.parametrize("name", experiment.names())
def test_an_experiment_states_its_command(name):
    doc = experiment._module(name).__doc__
    assert f"--exp={name}" in doc
    for word in ("Hardware:", "Expect:"):
        assert word in doc, f"experiments/{name}.py does not say {word}"


@pytest.mark.parametrize(
    "name", [name for name in experiment.names() if hasattr(experiment._module(name), "get_sweep")]
)
def test_the_variants_of_a_sweep_pass_the_check_and_differ_from_each_other(name, tmp_path):
    themes = experiment.load_themes(name)
    (variants,) = sweep.check(experiment.load(name), token_verifier.stages, themes, [7], tmp_path)
    assert variants[0].name == sweep.BASE and {each.config.seed for each in variants} == {7}
    for theme, assigned in themes.items():
        settings = [
            config_lib.flatten(each.config)
            for each in variants
            if each.name in (sweep.BASE, *assigned)
        ]
        assert len(settings) == 1 + len(assigned)
        assert all(
            one != other for place, one in enumerate(settings) for other in settings[:place]
        ), theme


def test_tiny_variants_of_fewer_examples_take_the_steps_of_the_base_which_takes_an_epoch():
    base = experiment.load("tiny_ablations")
    assert (
        base.finetune.steps == base.verify.steps == 0
        and base.finetune.epochs == base.verify.epochs == 1
    )
    tokenizer = load_tokenizer(pathlib.Path(tiny_ablations.BIG))
    examples = [
        batches.lm_example(
            *batches.encode_problem(each, tokenizer, Template()),
            loss_on_question=False,
            loss_on_forced=True,
        )
        for each in sources.load_problems(base.data, 0)["train"]
    ]
    job = base.finetune
    spec = batches.BatchSpec(job.batch_rows, job.row_tokens, lm.TARGETS)
    assert len(batches.BatchStream(examples, 0, spec)) == tiny_ablations.FINETUNE_STEPS
    themes = tiny_ablations.get_sweep()
    fewer = [
        *themes["train_problems"].values(),
        *themes["samples_per_problem"].values(),
        themes["losses"]["verification_only"],
    ]
    assert all(f"verify.steps={tiny_ablations.VERIFY_STEPS}" in one for one in fewer)
    assert all(
        f"finetune.steps={tiny_ablations.FINETUNE_STEPS}" in one
        for one in themes["train_problems"].values()
    )


def test_the_list_has_a_line_for_every_experiment():
    lines = experiment.summaries().splitlines()
    assert [line.split()[0] for line in lines] == experiment.names()
    assert {"tiny_token_verifier", "gsm8k_token_verifier"} <= set(experiment.names())


def test_an_unknown_experiment_shows_the_nearest():
    with pytest.raises(errors.ConfigError, match="tiny_token_verifier"):
        experiment.load("tiny_token_verifer")


def test_a_file_of_ones_own_is_an_experiment(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from verifier.config import Config\n\ndef get_config():\n    return "
        "Config(name='mine', seed=7)\n"
    )
    assert experiment.load(str(path)).seed == 7
    path.write_text("x = 1\n")
    with pytest.raises(errors.ConfigError, match="get_config"):
        experiment.load(str(path))
    with pytest.raises(errors.ConfigError, match="no such file"):
        experiment.load(str(tmp_path / "other.py"))


HEAD = (
    "import dataclasses\nfrom verifier.config import Config, FinetuneConfig, SampleConfig, "
    "override\n"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "def get_config(): return Config(finetune=FinetuneConfig(epoch=3))",
            r"mine\.py, line 3 \(.*nearest knobs: finetune\.epochs",
        ),
        (
            "def get_config():\n    return dataclasses.replace(Config(), fintune=3)",
            r"mine\.py, line 4 .*nearest knobs: finetune\.",
        ),
        (
            "def get_config():\n    return override(Config(), ['finetune.epoch=3'])",
            r"mine\.py, line 4 .*: --set .*: finetune\.epochs",
        ),
        (
            "from verifier.config import FintuneConfig",
            r"mine\.py, line 3 .*ImportError.*nearest: FinetuneConfig",
        ),
        ("def get_config(:", r"mine\.py, line 3 .*SyntaxError"),
        (
            "import no_such_package",
            r"mine\.py, line 3 \(import no_such_package\): ModuleNotFoundError",
        ),
        (
            "import beside\n\ndef get_config():\n    return beside.broken()",
            r"beside\.py, line 5 \(.*\): ZeroDivisionError",
        ),
        ("def get_config(): return get_config()", r"mine\.py, line 3 .*RecursionError"),
        ("def get_config(): pass", r"gave None; expected a verifier\.config\.Config"),
        ("def get_config(what): pass", r"mine\.py: TypeError: .*'what'"),
        ("get_config = 3", r"has no get_config\(\)"),
        ("x = '\0'", "mine.py.*null bytes"),
    ],
)
def test_a_file_that_cannot_be_run_is_one_line_with_its_line(tmp_path, text, said):
    (tmp_path / "mine.py").write_text(HEAD + text + "\n")
    (tmp_path / "beside.py").write_text("SEED = 5\n\n\ndef broken():\n    return 1 / 0\n")
    with pytest.raises(errors.ConfigError, match=said) as raised:
        experiment.load(str(tmp_path / "mine.py"))
    assert "\n" not in str(raised.value)


def test_a_file_may_import_what_lies_beside_it_and_leaves_no_trace(tmp_path):
    before = list(sys.path)
    (tmp_path / "neighbour_of_mine.py").write_text("SEED = 5\n")
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nimport dataclasses\nimport neighbour_of_mine\n"
        + HEAD.splitlines()[1]
        + "\n\n@dataclasses.dataclass\nclass Own:\n    seed: int\n\n"
        "def get_config(): return Config(seed=Own(neighbour_of_mine.SEED).seed)\n"
    )
    assert experiment.load(str(tmp_path / "mine.py")).seed == 5
    assert sys.path == before


@pytest.mark.parametrize(
    "themes",
    [
        "{}",
        "[]",
        "{'a': []}",
        "{'a': {'b': 'verify.epochs=1'}}",
        "{'a': {'b': [3]}}",
        "{'a': {3: ['x=1']}}",
    ],
)
def test_a_sweep_that_is_no_table_of_assignments_is_shown(tmp_path, themes):
    (tmp_path / "mine.py").write_text(f"def get_sweep(): return {themes}\n")
    with pytest.raises(
        errors.ConfigError, match=r"get_sweep\(\) gave .*expected assignments by theme and variant"
    ):
        experiment.load_themes(str(tmp_path / "mine.py"))
