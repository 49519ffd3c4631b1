"""What an experiment stands for is found without weights, tokenizer, data or network; what nobody
knows is refused.
"""

import json

import pytest

from tests.plan import planned
from verifier import config as config_lib
from verifier import errors
from verifier.errors import ConfigError
from verifier.plan import costs, published
from verifier.run import experiment


def config(name, *more):
    return config_lib.override(experiment.load(name), more)


@pytest.fixture(autouse=True)
def nothing_lies_here(monkeypatch, tmp_path):
    monkeypatch.delenv("GSM8K_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "weights, parameters",  # as the model cards say, norms left out
    [
        ("mistralai/Mistral-7B-v0.1", 7.242e9),
        ("meta-llama/Llama-2-7b-hf", 6.738e9),
        ("HuggingFaceTB/SmolLM2-135M", 134.5e6),
        ("google/gemma-3-270m", 268.1e6),
        ("google/gemma-3-1b-pt", 999.9e6),
    ],
)
def test_published_sizes_make_the_published_number_of_parameters(weights, parameters):
    found = planned.read(config("gsm8k_token_verifier_7b", f"model.weights={weights}"))
    assert costs.parameters(found.arch) == pytest.approx(parameters, rel=1e-3)
    # the reserved id has a row
    assert found.arch.vocab_size % 64 == 0 and found.arch.vocab_size > found.vocab_size
    assert found.arch.context == 1024
    assert any("published" in note for note in found.notes)


def test_a_folder_with_nothing_but_a_config_is_enough(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(published.MODELS["HuggingFaceTB/SmolLM2-135M"] | {"num_hidden_layers": 2})
    )
    assert (
        planned.read(config("gsm8k_token_verifier", f"model.weights={tmp_path}")).arch.layers == 2
    )


@pytest.mark.parametrize("weights", ["organisation/unknown", "no/such/folder"])
def test_sizes_that_nobody_knows_are_refused_with_the_way_out(weights):
    with pytest.raises(ConfigError, match=r"config\.json.*mistralai/Mistral-7B-v0\.1"):
        planned.read(config("gsm8k_token_verifier_7b", f"model.weights={weights}"))


def test_rows_beyond_the_context_are_refused():
    with pytest.raises(ConfigError, match="finetune.row_tokens=8192"):
        planned.read(
            config("gsm8k_token_verifier_7b", "model.context=4096", "finetune.row_tokens=8192")
        )


def test_problems_that_lie_here_are_counted_with_their_tokenizer():
    found = planned.read(config("tiny_token_verifier"))
    assert [found.texts[split].problems for split in ("train", "heldout", "test")] == [480, 64, 304]
    assert found.vocab_size == 1024 and not found.notes
    assert 10 < found.texts["train"].prompt <= found.texts["train"].longest < 256


def test_published_numbers_stand_in_for_gsm8k_alone():
    found = planned.read(config("gsm8k_token_verifier_7b"))
    assert {split: text.problems for split, text in found.texts.items()} == {
        "train": 7217,
        "heldout": 256,
        "test": 1319,
    }
    few = planned.read(
        config("gsm8k_token_verifier_7b", "data.train_problems=100", "data.test_problems=10")
    )
    assert (few.texts["train"].problems, few.texts["test"].problems) == (100, 10)
    # mistyped or missing: not to be covered up
    for named in ("data.dir=nowhere", "data.test_name=svamp"):
        with pytest.raises(errors.UserError, match=r"is not there|needs"):
            planned.read(config("gsm8k_token_verifier_7b", named))
    with pytest.raises(errors.UserError, match="svamp"):
        planned.read(config("gsm8k_token_verifier_7b", "data.name=svamp"))
