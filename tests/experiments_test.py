"""Every experiment that ships loads, has sound settings and says what it costs."""

import pytest

from verifier import config as config_lib
from verifier import config_checks, experiment


@pytest.mark.parametrize("name", experiment.names())
def test_an_experiment_loads_and_its_settings_pass_the_check(name):
    config = experiment.load(name)
    config_checks.check(config)
    assert config.name == name


@pytest.mark.parametrize("name", experiment.names())
def test_an_experiment_states_its_command(name):
    doc = experiment._module(name).__doc__
    assert f"--exp={name}" in doc
    for word in ("Hardware:", "Expect:"):
        assert word in doc, f"experiments/{name}.py does not say {word}"


def test_the_list_has_a_line_for_every_experiment():
    lines = experiment.summaries().splitlines()
    assert [line.split()[0] for line in lines] == experiment.names()
    assert {"tiny_token_verifier", "gsm8k_token_verifier"} <= set(experiment.names())


def test_an_unknown_experiment_shows_the_nearest():
    with pytest.raises(config_lib.ConfigError, match="tiny_token_verifier"):
        experiment.load("tiny_token_verifer")


def test_a_file_of_ones_own_is_an_experiment(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from verifier.config import Config\n\ndef get_config():\n    return Config(name='mine', seed=7)\n")
    assert experiment.load(str(path)).seed == 7
    path.write_text("x = 1\n")
    with pytest.raises(config_lib.ConfigError, match="get_config"):
        experiment.load(str(path))
    with pytest.raises(config_lib.ConfigError, match="no such file"):
        experiment.load(str(tmp_path / "other.py"))
