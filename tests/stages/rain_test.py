"""The stage rain on a tiny model: what it writes, goes on with, and refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator

import pytest

from tests.shrunk import rows
from verifier.config import Config, ModelConfig, RainConfig, SampleConfig, SearchConfig
from verifier.errors import ConfigError, DataError, TokenizerError, WorkdirError
from verifier.recipes import rain
from verifier.run import status
from verifier.search import judge_prompts
from verifier.search.searcher import Searcher
from verifier.stages import runner

pytestmark = pytest.mark.usefixtures("few_programs")

WEIGHTS = pathlib.Path(__file__).parents[2] / "experiments/tiny_base_weights"
PROMPTS = ("2 + 2", "Tom has 3", "4 apples")
QUESTION = "good = 'yes'\nbad = 'no'\ntext = '{prompt}: {text} (A) {A} (B) {B} ('\n"


@pytest.fixture
def config(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The letters of the answers are two that the tiny vocabulary has."""

    def letters(self, tokenizer):
        return tokenizer.encode("1")[-1], tokenizer.encode("2")[-1]

    monkeypatch.setattr(judge_prompts.JudgePrompt, "letters", letters)
    (tmp_path / "judge.toml").write_text(QUESTION)
    lines = [json.dumps({"prompt": prompt}) for prompt in (*PROMPTS, PROMPTS[0])]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    pair = {"prompt": "2 + 2", "good": "= 4", "bad": "= 5"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pair))
    return Config(
        model=ModelConfig(weights=str(WEIGHTS), context=256),
        sample=SampleConfig(max_new_tokens=4, calculator=False),
        rain=RainConfig(
            judge=str(tmp_path / "judge.toml"),
            T=2,
            min_lookaheads=1,
            candidates=3,
            clause_tokens=3,
            chat=False,
            prompts=str(tmp_path / "prompts.jsonl"),
            pairs=str(tmp_path / "pairs.jsonl"),
        ),
    )


def changed(config: Config, **knobs) -> Config:
    return dataclasses.replace(config, rain=dataclasses.replace(config.rain, **knobs))


@contextlib.contextmanager
def other_question(folder: pathlib.Path) -> Iterator[None]:
    """The judge asks something else for a while."""
    (folder / "judge.toml").write_text(QUESTION.replace("yes", "surely"))
    yield
    (folder / "judge.toml").write_text(QUESTION)


def standing(config: Config, root: pathlib.Path) -> tuple[str, str]:
    (line,) = status.lines(rain.stages(config), ["rain"], config, root)
    return line.state, line.why


def test_every_prompt_is_answered_twice_and_a_kill_costs_a_part(
    config: Config, tmp_path: pathlib.Path, monkeypatch, capsys
) -> None:
    root, run = tmp_path / "run", Searcher.run
    asked: list[int] = []

    def dies(self, name, budget, prompts, progress):
        asked.append(len(prompts))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return run(self, name, budget, prompts, progress)

    config = dataclasses.replace(config, search=SearchConfig(part_problems=2))
    monkeypatch.setattr(Searcher, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        runner.run(rain.stages(config), config, root)
    with other_question(tmp_path), pytest.raises(WorkdirError, match="begun with other .*judge:"):
        runner.run(rain.stages(config), config, root)
    with other_question(tmp_path):
        assert standing(config, root) == ("refused", "begun with other files of rain.judge")
    runner.run(rain.stages(config), config, root)
    assert asked == [2, 2, 1, 1, 1]
    found = rows(root / "tables/rain/split=test")
    assert {(row["prompt"], row["method"]) for row in found} == {
        (prompt, method) for prompt in PROMPTS for method in ("greedy", "rain")
    }
    for row in found:
        assert row["score"] in (0, 0.5, 1) and row["tokens_generated"] > 0
        if row["method"] == "greedy":
            assert row["tokens_generated"] <= 4
    shown = capsys.readouterr().out
    assert "minus greedy" in shown and "labelled texts" in shown
    runner.run(rain.stages(config), config, root)
    assert len(asked) == 5, "what is done is not done again"
    assert standing(config, root)[0] == "done"
    with other_question(tmp_path), pytest.raises(WorkdirError, match="judge.toml' has changed"):
        runner.run(rain.stages(config), config, root)


@pytest.mark.parametrize(
    "knobs, error, said",
    [
        ({"prompts": ""}, ConfigError, "rain.prompts is empty"),
        ({"judge": "verifier"}, ConfigError, "has none"),
        ({"judge": "nobody"}, ConfigError, "expected verifier, harmless"),
        ({"chat": True}, TokenizerError, "no chat template"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(
    config: Config, tmp_path: pathlib.Path, knobs, error, said
) -> None:
    wrong = changed(config, **knobs)
    with pytest.raises(error, match=said):
        runner.run(rain.stages(wrong), wrong, tmp_path / "run")
    assert not (tmp_path / "run/tables").exists()


def test_lines_without_a_prompt_are_refused(config: Config, tmp_path: pathlib.Path) -> None:
    for line, said in (('{"question": 1}', "no field 'prompt'"), ('{"prompt": " "}', "empty")):
        (tmp_path / "prompts.jsonl").write_text(line)
        with pytest.raises(DataError, match=said):
            runner.run(rain.stages(config), config, tmp_path / "run")
