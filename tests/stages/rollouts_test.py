"""The stage rollouts in a finished run, and a verifier that learns from what it has stored."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest

from tests.shrunk import config, rows
from verifier.config import checks
from verifier.errors import ConfigError, WorkdirError
from verifier.recipes import token_verifier
from verifier.run.context import Context
from verifier.stages import runner

FEW = ("rollouts.number=2",)


def run(root: pathlib.Path, labels: str, names: list[str], *more: str) -> None:
    own = config(*FEW, f"verify.labels={labels}", *more)
    runner.run(token_verifier.stages(own), own, root, names)


@pytest.mark.parametrize("level", ["token", "solution"])
def test_counts_are_stored_and_learned_from(copy: pathlib.Path, level: str) -> None:
    for name in ("verifier", "tables/scores", "report"):
        shutil.rmtree(copy / name)
    run(copy, "soft", ["rollouts", "verify"], f"verify.level={level}")
    found = rows(copy / "tables/steps/split=train")
    samples = {
        (row["problem_id"], row["sample_id"]): row
        for row in rows(copy / "tables/samples/split=train")
    }
    by_sample: dict[tuple[str, int], list[dict]] = {}
    for row in found:
        by_sample.setdefault((row["problem_id"], row["sample_id"]), []).append(row)
    assert by_sample.keys() == samples.keys()
    for key, steps in by_sample.items():
        steps.sort(key=lambda row: row["step"])
        assert [row["step"] for row in steps] == list(range(len(steps)))
        assert np.all(np.diff([row["end_token"] for row in steps]) > 0)
        assert steps[-1]["end_token"] == len(samples[key]["tokens"]) - 1
        assert [row["rollouts"] for row in steps] == [2] * (len(steps) - 1) + [0]
        assert all(0 <= row["hits"] <= row["rollouts"] for row in steps)
    manifest = json.loads((copy / "verifier/manifest.json").read_text())
    assert manifest["settings"]["verify.labels"] == "soft" and "steps" in manifest["settings"]


def test_samples_without_rollouts_are_refused() -> None:
    few = ["rollouts.samples_per_problem=1", "verify.labels=hard"]
    for more in ([], ["verify.samples_per_problem=2"], ["verify.deduplicate=true"]):
        with pytest.raises(ConfigError, match="rollouts.samples_per_problem=1"):
            checks.check(config(*few, *more))
    checks.check(config(*few, "verify.samples_per_problem=1"))


def test_another_generators_samples_are_refused(
    copy: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("verifier", "tables/scores", "report"):
        shutil.rmtree(copy / name)
    monkeypatch.setattr(Context, "id_of", lambda *_: "another")
    with pytest.raises(WorkdirError, match="it is another that goes on"):
        run(copy, "hard", ["rollouts"])


def test_without_step_labels_there_is_no_such_stage() -> None:
    names = [stage.name for stage in token_verifier.stages(config())]
    assert "rollouts" not in names
