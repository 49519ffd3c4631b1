"""The stage rollouts in a finished run, and a verifier that learns from what it has stored."""

from __future__ import annotations

import json
import pathlib
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tests.shrunk import config, rows
from verifier.config import RolloutsConfig, checks
from verifier.errors import ConfigError, Stopped, WorkdirError
from verifier.grading import graders
from verifier.recipes import token_verifier
from verifier.run.context import Context
from verifier.stages import rollouts, runner, table_writing
from verifier.system import log
from verifier.text.bytes_tokenizer import ByteTokenizer

pytestmark = pytest.mark.usefixtures("few_programs")

FEW = ("rollouts.number=2",)


def run(root: pathlib.Path, labels: str, names: list[str], *more: str) -> None:
    own = config(*FEW, f"verify.labels={labels}", *more)
    runner.run(token_verifier.stages(own), own, root, names)


def test_counts_are_stored_once_and_learned_from(
    copy: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("verifier", "tables/scores", "report"):
        shutil.rmtree(copy / name)
    looked_at = Counter()
    opened = Counter()
    step_ends, opens = rollouts.step_ends, graders.opened

    def counted_ends(tokens, *more):
        looked_at[tuple(tokens)] += 1
        return step_ends(tokens, *more)

    def counted_grading(*how):
        opened[how] += 1
        return opens(*how)

    monkeypatch.setattr(rollouts, "step_ends", counted_ends)
    monkeypatch.setattr(graders, "opened", counted_grading)
    with monkeypatch.context() as patched:
        patched.setattr(table_writing, "stop_if_asked", stops_after(3))
        with pytest.raises(Stopped):
            run(copy, "soft", ["rollouts"])
    folder = copy / "tables/steps/split=train"
    stored = {row["problem_id"] for row in rows(folder)}
    assert 3 <= len(stored) < 10
    looked_at.clear()
    opened.clear()
    run(copy, "soft", ["rollouts"])
    drawn = rows(copy / "tables/samples/split=train")
    # what is stored already is not looked through again
    assert looked_at == Counter(
        tuple(row["tokens"]) for row in drawn if row["problem_id"] not in stored
    )
    assert opened == {("numeric", 5.0): 1}  # however many problems are graded
    for level in ("token", "solution"):
        run(copy, "soft", ["verify"], f"verify.level={level}")
        manifest = json.loads((copy / "verifier/manifest.json").read_text())
        assert manifest["settings"]["verify.labels"] == "soft" and "steps" in manifest["settings"]
        shutil.rmtree(copy / "verifier")
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


def stops_after(problems: int):
    def stop(progress: log.Progress) -> None:
        if progress.done >= problems:
            raise Stopped("asked to")

    return stop


def test_a_problems_first_samples_are_rolled_out_wherever_they_stand() -> None:
    tokenizer = ByteTokenizer()
    order = [("b", 2), ("a", 1), ("c", 0), ("b", 0), ("a", 0), ("b", 1)]
    tokens = [tokenizer.encode(f"{name}\n{sample}\n.") for name, sample in order]
    table = pa.table(
        {
            "problem_id": [name for name, _ in order],
            "sample_id": [sample for _, sample in order],
            "tokens": tokens,
            "forced": [[False] * len(each) for each in tokens],
        }
    )
    samples = rollouts.Samples(table, ["b", "a"], tokenizer, RolloutsConfig(samples_per_problem=2))
    for name in ("a", "b"):
        found = samples.of(name)
        assert list(found) == [0, 1]
        for sample, one in found.items():
            assert one.tokens == tokens[order.index((name, sample))] and list(one.ends) == [1, 3]
    with pytest.raises(KeyError):  # not asked for, so not held
        samples.of("c")


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
