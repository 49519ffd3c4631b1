"""The stage search in a finished run: what it writes, goes on with, and refuses."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest

from tests.shrunk import config, rows
from verifier.config import checks
from verifier.errors import ConfigError, WorkdirError
from verifier.recipes import guided
from verifier.search.session import Session
from verifier.stages import runner
from verifier.stages import search as stage
from verifier.tables import provenance

pytestmark = pytest.mark.usefixtures("few_programs")

SEARCH = (
    "search.budgets=[2,4]",
    "search.branching=2",
    "search.part_problems=4",
    "search.distinct=true",
)
METHODS = ("sample", "beam", "dvts")


def search(root: pathlib.Path, *more: str) -> list[dict[str, Any]]:
    own = config(*SEARCH, *more)
    runner.run(guided.stages(own), own, root, ["search"])
    return rows(root / "tables/search/split=test")


def test_every_problem_by_every_method(copy: pathlib.Path, capsys: pytest.CaptureFixture) -> None:
    found = search(copy)
    problems = {row["problem_id"] for row in rows(copy / "tables/problems/split=test")}
    asked = {(each, method, size) for each in problems for method in METHODS for size in (2, 4)}
    assert {(row["problem_id"], row["method"], row["budget"]) for row in found} == asked
    assert len(found) == len(asked)
    for row in found:
        assert (
            len({len(row[name]) for name in ("node", "parent", "text", "value", "visits", "kept")})
            == 1
        )
        assert all(parent < node for node, parent in enumerate(row["parent"]))
        # the solution is a way from the root to a node that was kept
        ways = []
        for node, parent in enumerate(row["parent"]):
            ways.append((ways[parent] if parent >= 0 else "") + row["text"][node])
        assert row["solution"] in [way for way, kept in zip(ways, row["kept"], strict=True) if kept]
    shown = capsys.readouterr().out
    assert all(method in shown for method in METHODS)
    assert "minus best-of-n" in shown and "at equal tokens" in shown


def test_plain_samples_are_those_of_the_run(copy: pathlib.Path) -> None:
    """Best of 4 by search is the best of the four that the run has drawn and scored."""
    found = {
        row["problem_id"]: row
        for row in search(copy, "search.methods=[sample]")
        if row["budget"] == 4
    }
    scores: dict[str, list[float]] = {}
    for row in rows(copy / "tables/scores/split=test"):
        scores.setdefault(row["problem_id"], []).append(row["score"])
    differ = [name for name, each in scores.items() if abs(max(each) - found[name]["score"]) > 1e-4]
    assert len(differ) <= 1, "more than a near tie"


def test_killed_it_goes_on_with_what_is_missing(
    copy: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, parts = Session.run, []

    def dies(self, prompts, *rest):
        parts.append([prompt.problem_id for prompt in prompts])
        if len(parts) == 4:  # in the middle of the second part, of two budgets
            raise KeyboardInterrupt
        return run(self, prompts, *rest)

    monkeypatch.setattr(Session, "run", dies)
    with pytest.raises(KeyboardInterrupt):
        search(copy, "search.methods=[beam]")
    there = {row["problem_id"] for row in rows(copy / "tables/search/split=test")}
    assert there == set(parts[0])
    again = len(parts)
    whole = search(copy, "search.methods=[beam]")
    assert not there & {name for part in parts[again:] for name in part}
    assert {row["problem_id"] for row in whole} > there
    assert np.isfinite([row["seconds"] for row in whole]).all()


def test_another_generators_verifier_is_refused(
    copy: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "trained_on", lambda _: "another")
    with pytest.raises(WorkdirError, match="samples of generator another"):
        search(copy)
    assert not list((copy / "tables/search").rglob("part-*"))


@pytest.mark.parametrize(
    "setting, reason",
    [
        ("search.budgets=[4,6]", "6 candidates cannot be shared out"),
        ("search.budgets=[]", "at least one"),
        ("search.methods=[]", "at least one"),
        ("search.methods=[beam,beam]", "stands twice"),
        ("search.step_end=", "the text that a step ends with"),
        ("search.branching=0", "search.branching"),
        ("search.scorer=best", "search.scorer"),
    ],
)
def test_what_makes_no_search_is_refused(setting: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        checks.check(config(setting))


def test_steps_that_would_end_in_what_the_calculator_writes_are_refused() -> None:
    for step_end in (">>", "=", "5"):
        with pytest.raises(ConfigError, match="the calculator may write what ends so"):
            stage.check(config(f"search.step_end={step_end}"))
        stage.check(config(f"search.step_end={step_end}", "sample.calculator=false"))
    stage.check(config("search.step_end=.\n"))
    stage.check_branches(config("rollouts.step_end=>>"))  # of stored solutions, whoever wrote them


def test_rain_ends_with_the_verifier_s_own_score(copy: pathlib.Path) -> None:
    """Its one budget is its candidates; what it tried is a tree whose values are chances."""
    small = ("rain.T=3", "rain.min_lookaheads=2", "rain.candidates=3", "search.test_problems=2")
    found = search(copy, "search.methods=[rain]", *small)
    assert {(row["method"], row["budget"]) for row in found} == {("rain", 3)} and len(found) == 2
    for row in found:
        assert sum(row["kept"]) > 0 and all(0 <= value <= 1 for value in row["value"][:-1])
        assert (
            "".join(text for text, kept in zip(row["text"], row["kept"], strict=True) if kept)
            == row["solution"]
        )
        assert row["tokens_scored"] > 0 and row["model_calls"] > 3
