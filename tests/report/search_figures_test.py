"""Search beside best-of-n of as many tokens: figures of a small workdir against brute force."""

from __future__ import annotations

import html
import itertools
import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.report.report_test import CONFIG, make_workdir
from tests.report.searched import BUDGETS, PROMPT_TOKENS, SETTINGS, make_searched
from verifier.evaluate import budget
from verifier.evaluate.equal_tokens import PlainSamples
from verifier.report import budgets, page, search_figures, search_trees, writing
from verifier.tables import store
from verifier.tables.reading import read_table
from verifier.tables.results import SEARCH
from verifier.text.split import TEST

Sample = tuple[float, bool, list[int]]  # score, verdict, tokens


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return make_searched(tmp_path_factory.mktemp("searched"))


@pytest.fixture(scope="module")
def plain(root: pathlib.Path) -> PlainSamples:
    manifest = store.read_manifest(SEARCH.folder(root, TEST))
    rows = budgets.scored(root, allow_missing=False)[TEST]
    problems = {row["problem_id"] for row in searches(root)}
    made = budgets.plain_samples(rows, manifest, problems)
    assert made is not None
    return made


@pytest.fixture(scope="module")
def figures(root: pathlib.Path) -> dict[str, Any]:
    writing.write_report(root, root / "report", CONFIG, seed=0)
    return json.loads((root / "report" / "metrics.json").read_text())["splits"]["test"]


def searches(root: pathlib.Path) -> list[dict[str, Any]]:
    return read_table(SEARCH.folder(root, TEST), "search").to_pylist()


def by_problem(root: pathlib.Path) -> list[list[Sample]]:
    """The stored samples of the problems that were searched, by rising id."""
    rows: dict[str, list[Sample]] = {row["problem_id"]: [] for row in searches(root)}
    tables = (
        read_table(root / "tables" / name / "split=test", name).to_pylist()
        for name in ("samples", "labels", "scores")
    )
    for sample, label, score in zip(*tables, strict=True):
        if sample["problem_id"] in rows:
            one = (score["score"], label["correct"], sample["tokens"])
            rows[sample["problem_id"]].append(one)
    return [rows[name] for name in sorted(rows)]


def mean_over_subsets(samples: list[Sample], n: int) -> tuple[float, float, float]:
    """Tokens generated and scored, and how often the best sample is right."""
    found = []
    for some in itertools.combinations(samples, n):
        prefixes = {tuple(tokens[:end]) for *_, tokens in some for end in range(1, len(tokens) + 1)}
        best = max(some, key=lambda one: one[0])
        found.append((sum(len(one[2]) for one in some), PROMPT_TOKENS + len(prefixes), best[1]))
    generated, scored, right = np.mean(np.array(found, float), axis=0).tolist()
    return generated, scored, right


def test_what_n_samples_take_is_the_mean_over_all_subsets(
    root: pathlib.Path, plain: PlainSamples
) -> None:
    problems = by_problem(root)
    assert plain.most == 6
    for n in range(1, 7):
        generated, scored, _ = np.mean([mean_over_subsets(each, n) for each in problems], axis=0)
        assert plain.spent(n).generated == pytest.approx(generated)
        assert plain.spent(n).scored == pytest.approx(scored)
    for n in (0, 7):
        with pytest.raises(ValueError, match="expected 1 to 6"):
            plain.spent(n)


def test_as_many_samples_as_the_tokens_are_enough_for(plain: PlainSamples) -> None:
    at = [plain.spent(n).all for n in range(1, 7)]
    assert at == sorted(at) and len(set(at)) == 6
    for n, tokens in enumerate(at, 1):
        assert plain.affordable(tokens) == n, "met to the token"
        assert plain.affordable(tokens - 0.5) == max(n - 1, 1)
        assert plain.affordable(tokens + 0.5) == n
    assert not plain.would_afford_more(at[-1]) and plain.would_afford_more(at[-1] + 0.5)


def test_differences_at_equal_tokens_are_those_to_the_mean_over_subsets(
    root: pathlib.Path, figures: dict[str, Any]
) -> None:
    problems, rows = by_problem(root), searches(root)
    for each in figures["budget"]["beam"]:
        against = each["minus_best_of_n_at_equal_tokens"]
        means = np.array([mean_over_subsets(one, against["n"]) for one in problems])
        own = [
            row["correct"]
            for row in sorted(rows, key=lambda row: row["problem_id"])
            if (row["method"], row["budget"]) == ("beam", each["candidates"])
        ]
        assert against["value"] == pytest.approx(np.mean(own - means[:, 2]))
        assert (against["tokens"], against["tokens_scored"]) == pytest.approx(
            tuple(means.mean(axis=0)[:2])
        )
        assert against["tokens"] + against["tokens_scored"] <= search_figures.spent(each)
        assert against["ci95"][0] <= against["value"] <= against["ci95"][1]
        assert not against["cut_off"]
    assert all(
        each["minus_best_of_n_at_equal_tokens"] is None for each in figures["budget"]["sample"]
    )
    curve = figures["budget_best_of_n"]
    assert [each["n"] for each in curve] == [1, 2, 3, 5, 6]
    for each in curve:
        right = np.mean([mean_over_subsets(one, each["n"])[2] for one in problems])
        assert each["accuracy"]["value"] == pytest.approx(right)


def test_a_method_that_takes_more_than_all_samples_is_said_to(
    root: pathlib.Path, plain: PlainSamples
) -> None:
    rows = [
        {**row, "tokens_generated": 10_000} if row["method"] == "beam" else row
        for row in searches(root)
    ]
    found = budget.by_method(rows, 50, 0, plain)
    cut = [each["minus_best_of_n_at_equal_tokens"] for each in found.methods["beam"]]
    assert [(each["n"], each["cut_off"]) for each in cut] == [(6, True)] * len(BUDGETS)
    assert "6+" in (text := budget.as_text(found, "test")) and budget.CUT_OFF in text
    assert search_figures.section(found.as_figures())["cut_off"] == budget.CUT_OFF


def test_samples_that_are_no_baseline_are_not_compared_with(
    root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    rows = budgets.scored(root, allow_missing=False)[TEST]
    manifest = store.read_manifest(SEARCH.folder(root, TEST))
    problems = {row["problem_id"] for row in searches(root)}
    assert manifest and budgets.plain_samples(rows, manifest, problems)
    for changed in ({"search.scorer": "logprob"}, {"verifier": "v2"}, {"generator": "g2"}):
        other = manifest | {"settings": manifest["settings"] | changed}
        assert budgets.plain_samples(rows, other, problems) is None, changed
    assert budgets.plain_samples(rows, manifest, problems | {"test-99"}) is None
    earlier = {key: value for key, value in manifest.items() if key != "prompt_tokens"}
    assert budgets.plain_samples(rows, earlier, problems) is None
    make_searched(tmp_path, scored=False)
    found = budgets.by_split(tmp_path, budgets.scored(tmp_path, False), 50, 0)["test"]
    assert found.best_of_n is None and len(found.methods["beam"]) == 2
    for each in found.methods["beam"]:
        assert each["minus_best_of_n_at_equal_tokens"] is None and each["minus_best_of_n"]
    assert "equal tokens" not in budget.as_text(found, "test")
    section = search_figures.section(found.as_figures())
    assert section and not section["equal"] and not section["counted"]


def test_samples_of_other_problems_are_refused(root: pathlib.Path, plain: PlainSamples) -> None:
    rows = [row for row in searches(root) if row["problem_id"] != "test-03"]
    with pytest.raises(ValueError, match="of 12 problems; expected those 11"):
        budget.by_method(rows, 50, 0, plain)


def test_terminal_page_and_figures_say_the_same(
    root: pathlib.Path, figures: dict[str, Any]
) -> None:
    found = budget.BudgetFigures(figures["budget"], figures["budget_best_of_n"])
    text = budget.as_text(found, "test")
    shown = html.unescape((root / "report" / "index.html").read_text())
    assert figures["budget"]["beam"]
    for each in figures["budget"]["beam"]:
        against = each["minus_best_of_n_at_equal_tokens"]
        assert f"{100 * against['value']:+.1f} [" in text
        tokens = against["tokens"] + against["tokens_scored"]
        assert f"n = {against['n']}, {tokens:,.0f} tokens" in shown
    assert all(words in text and words in shown for words in budget.COUNTED)
    chart = (root / "report" / "search.svg").read_text()
    for name in ("best-of-n", "sample", "beam"):
        assert chart.count(f"<title>{name}, ") == len(
            figures["budget_best_of_n"] if name == "best-of-n" else figures["budget"][name]
        )


def test_trees_are_those_of_the_table_and_as_many_as_there_is_room_for(root: pathlib.Path) -> None:
    rows = {(row["problem_id"], row["method"], row["budget"]): row for row in searches(root)}
    whole = search_trees.browsed(root, TEST, {"test-00": "what?"}, {"test-00": "18"}, 0)
    assert whole["valued"] and whole["searched"] == len(whole["problems"]) == 12
    seen = set()
    for problem in whole["problems"]:
        assert (problem["question"] == "what?") == (problem["id"] == "test-00")
        for tree in problem["trees"]:
            row = rows[key := (problem["id"], tree["method"], tree["budget"])]
            seen.add(key)
            assert [problem["texts"][index] for index in tree["text"]] == row["text"]
            assert tree["parent"] == row["parent"] and tree["right"] == row["correct"]
            assert np.abs(np.array(tree["value"]) / 100 - row["value"]).max() <= 0.00501
            assert [node not in tree["dropped"] for node in range(len(row["kept"]))] == row["kept"]
            end, way = tree["chosen"], []
            while end >= 0:
                way.append(row["text"][end])
                end = row["parent"][end]
            assert "".join(way[::-1]) == row["solution"]
    assert seen == set(rows)
    small = search_trees.browsed(root, TEST, {}, {}, 0, room=4_000)
    assert 1 < len(small["problems"]) < 12 and small["searched"] == 12
    assert len(page.embedded(small).encode()) <= 4_000 + 100
    none = search_trees.browsed(root, TEST, {}, {}, 0, room=1)
    assert len(none["problems"]) == 1


def test_a_page_without_search_has_nothing_of_it(
    root: pathlib.Path, figures: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    marks = "<h2>Search", 'id="trees"', 'id="tree"', ".spent", search_figures.TITLE
    shown = (root / "report" / "index.html").read_text()
    assert "budget" in figures and all(mark in shown for mark in marks)
    assert shown.count("sha256-") == shown.count("<script>") == 2
    plain = writing.write_report(make_workdir(tmp_path), tmp_path / "report", CONFIG, seed=0)
    shown = (tmp_path / "report" / "index.html").read_text()
    assert "budget" not in plain["splits"]["test"] and not any(mark in shown for mark in marks)
    assert shown.count("sha256-") == shown.count("<script>") == 1


@pytest.mark.parametrize("spelled", [True, False])
def test_what_was_handed_in_is_found_where_all_have_one_score(
    tmp_path: pathlib.Path, spelled: bool
) -> None:
    make_searched(tmp_path, value=0.5, spelled=spelled)
    found = search_trees.browsed(tmp_path, TEST, {}, {}, 0)
    beams = [tree for one in found["problems"] for tree in one["trees"] if tree["method"] == "beam"]
    assert beams
    for tree in beams:  # the end that was not given up
        assert tree["chosen"] in (2, 3) and tree["chosen"] not in tree["dropped"]


def test_values_that_are_no_chances_have_no_colours(tmp_path: pathlib.Path) -> None:
    settings = SETTINGS | {"search.aggregation": "product"}
    make_searched(tmp_path, settings=settings, value=float("nan"))
    found = search_trees.browsed(tmp_path, TEST, {}, {}, 0)
    trees = [tree for one in found["problems"] for tree in one["trees"]]
    assert not found["valued"] and len(trees) == 48
    assert all(set(tree["value"]) == {None} and tree["chosen"] is None for tree in trees)
    assert "NaN" not in page.embedded(found)
