"""The report's page in a real browser: filters, search, order, colours by token, a phone's width,
and nothing that a solution can do.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.browser import Browser, browser, needs_browser
from tests.evaluate.held import assemble
from tests.report.report_test import CONFIG as SMALL
from tests.report.report_test import make_workdir
from verifier.evaluate import results_table
from verifier.report import browsing, page, writing
from verifier.report.token_texts import token_texts
from verifier.tables import store
from verifier.tables.reading import read_table
from verifier.tables.split_rows import SplitRows
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.split import TEST

CONFIG = dataclasses.replace(SMALL, show_problems=2000)
ATTACK = (
    "</script><script>window.hacked = 1</script><!-- <img src=x onerror='window.hacked = 2'> "
    "\u2028 ]]> &lt;b&gt;"
)
DATA = "JSON.parse(document.getElementById('data').textContent)"
TITLES = "[...document.querySelectorAll('#list .stem')].map(node => node.textContent)"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, pathlib.Path]]:
    """The browser and the report of a small workdir, one of whose solutions attacks the page."""
    root = make_workdir(tmp_path_factory.mktemp("run"))
    _replace_solution(root, ATTACK)
    _grade_all_wrong(root, "test-01")
    writing.write_report(root, root / "report", CONFIG, seed=0)
    with browser(tmp_path_factory.mktemp("profile")) as driven:
        yield driven, root / "report" / "index.html"


def _replace_solution(root: pathlib.Path, text: str) -> None:
    """Puts a text in the place of the best-scored solution of the first problem."""
    folder = root / "tables" / "samples" / "split=test"
    scores = {
        row["sample_id"]: row["score"]
        for row in read_table(root / "tables" / "scores" / "split=test", "scores").to_pylist()[:6]
    }
    best = max(scores, key=lambda sample: scores[sample])
    rows = read_table(folder, "samples").to_pylist()
    tokenizer = ByteTokenizer()
    for row in rows:
        if row["problem_id"] == "test-00" and row["sample_id"] == best:
            ids = [*tokenizer.encode(text), tokenizer.end_id]
            row.update(
                solution=text, tokens=ids, forced=[False] * len(ids), logprobs=[0.0] * len(ids)
            )
    store.remove_table(folder)
    writer = store.TableWriter(folder, "samples", {})
    writer.append(rows)
    writer.finish({})


def _grade_all_wrong(root: pathlib.Path, problem_id: str) -> None:
    folder = root / "tables" / "labels" / "split=test"
    rows = read_table(folder, "labels").to_pylist()
    store.remove_table(folder)
    writer = store.TableWriter(folder, "labels", {})
    writer.append(
        [row | {"correct": row["correct"] and row["problem_id"] != problem_id} for row in rows]
    )
    writer.finish({})


def _set(driven: Browser, **values: str) -> list[str]:
    """The questions that are listed when fields of the form are set so and all others cleared."""
    driven.run("document.getElementById('filters').reset()")
    script = "".join(
        f"document.querySelector('[name={name}]').value = {json.dumps(value)};"
        for name, value in values.items()
    )
    driven.run(f"{script} document.getElementById('filters').dispatchEvent(new Event('input'))")
    return driven.run(TITLES)


@needs_browser
def test_the_page_opens_without_a_complaint_and_asks_for_nothing(
    opened: tuple[Browser, pathlib.Path],
) -> None:
    driven, path = opened
    driven.open(path)
    assert driven.messages == []
    assert {address.partition(":")[0] for address in driven.addresses} <= {"file", "data"}
    assert driven.addresses[0] == path.resolve().as_uri() and not [
        one for one in driven.addresses[1:] if one.startswith("file")
    ]
    assert driven.run("document.getElementById('count').textContent") == "15 of 15 problems"


@needs_browser
@pytest.mark.parametrize(
    ("name", "value", "keep"),
    [
        ("majority", "right", lambda one: one["majority"] is True),
        ("majority", "wrong", lambda one: not one["majority"]),
        ("best", "right", lambda one: one["best"]),
        ("best", "wrong", lambda one: not one["best"]),
        ("apart", "agree", lambda one: not one["apart"]),
        ("apart", "differ", lambda one: one["apart"]),
        ("any", "right", lambda one: one["right"] > 0),
        ("any", "wrong", lambda one: one["right"] == 0),
        ("search", "5. how MANY? 12", lambda one: "12" in one["question"]),
        ("search", "test-03", lambda one: one["id"] == "test-03"),
    ],
)
def test_filters_and_search(
    opened: tuple[Browser, pathlib.Path], name: str, value: str, keep: Any
) -> None:
    driven, path = opened
    driven.open(path)
    wanted = [one["question"] for one in driven.run(DATA)["problems"] if keep(one)]
    assert 0 < len(wanted) < 15
    assert sorted(_set(driven, **{name: value})) == sorted(wanted)
    assert driven.run("document.getElementById('count').textContent").startswith(
        f"{len(wanted)} of 15 problems"
    )
    assert len(_set(driven)) == 15 and _set(driven, search="nowhere to be found") == []


@needs_browser
def test_orders(opened: tuple[Browser, pathlib.Path]) -> None:
    driven, path = opened
    driven.open(path)
    problems = driven.run(DATA)["problems"]
    keys = {
        "hard": lambda one: one["right"] / one["samples"],
        "easy": lambda one: -one["right"] / one["samples"],
        "low": lambda one: one["score"],
        "high": lambda one: -one["score"],
        "differ": lambda one: not one["apart"],
        "id": lambda one: one["id"],
    }
    for order, key in keys.items():
        assert _set(driven, order=order) == [
            one["question"] for one in sorted(problems, key=key)
        ], order


@needs_browser
def test_what_a_solution_holds_is_shown_and_never_run(opened: tuple[Browser, pathlib.Path]) -> None:
    driven, path = opened
    driven.open(path)
    driven.run("document.querySelectorAll('.problem').forEach(node => node.open = true)")
    driven.run("new Promise(done => setTimeout(done, 200))")
    assert driven.run("window.hacked") is None and driven.messages == []
    texts = driven.run("[...document.querySelectorAll('pre.text')].map(node => node.textContent)")
    assert ATTACK in texts and any(text.startswith("\u00a33*6=") for text in texts)
    assert (
        driven.run("document.querySelectorAll('script').length") == 2
        and driven.run("document.querySelectorAll('img').length") == 0
    )


@needs_browser
def test_a_tokens_value_is_said_by_pointer_tap_and_keys(
    opened: tuple[Browser, pathlib.Path],
) -> None:
    driven, path = opened
    driven.look(1100, 800)
    driven.open(path)
    _set(driven, search="test-03")
    driven.run("document.querySelector('.problem summary').focus()")
    driven.key("Enter")  # opens the problem
    driven.run("new Promise(done => setTimeout(done, 200))")
    one = next(one for one in driven.run(DATA)["problems"] if one["id"] == "test-03")["solutions"][
        0
    ]
    rows = read_table(path.parents[1], "scores").to_pylist()
    values = next(
        row["token_scores"]
        for row in rows
        if (row["problem_id"], row["sample_id"]) == ("test-03", one["sample"])
    )
    assert np.abs(np.array(one["values"]) / 100 - values).max() <= 0.00501
    said = "document.querySelector('.said').textContent"
    spans = driven.run(
        "[...document.querySelectorAll('pre')[0].children].map(node => [node.className, "
        "node.textContent])"
    )
    assert [index for index, (kind, _) in enumerate(spans) if "forced" in kind] == list(
        range(14, 18)
    )
    assert driven.run("document.querySelector('pre').textContent") == one["text"]
    driven.key("Tab")
    assert driven.run(said) == f"token 1 of {len(values)}: value {one['values'][0] / 100:.2f}"
    driven.key("ArrowRight")
    driven.key("ArrowRight")
    assert driven.run(said) == f"token 3 of {len(values)}: value {one['values'][2] / 100:.2f}"
    driven.key("End")
    assert driven.run(said).startswith(
        f"token {len(values)} of {len(values)}: value {one['values'][-1] / 100:.2f}"
    )
    driven.point("pre .forced")
    assert driven.run(said).endswith(
        f"value {one['values'][14] / 100:.2f} · written by the calculator"
    )
    driven.point("pre span:nth-child(6)", click=True)
    assert driven.run(said).startswith("token 6 of")


@needs_browser
def test_light_dark_and_a_phone(opened: tuple[Browser, pathlib.Path]) -> None:
    driven, path = opened
    driven.open(path)
    grounds = []
    for dark in (False, True):
        driven.look(1100, 800, dark)
        grounds.append(driven.run("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]
    driven.look(360, 740)
    driven.open(path)
    driven.run("document.querySelectorAll('details').forEach(node => node.open = true)")
    driven.run("new Promise(done => setTimeout(done, 200))")
    assert driven.run("document.documentElement.scrollWidth") <= 360
    driven.look(1280, 800)


def big_split(problems: int, samples: int) -> SplitRows:
    """Made-up rows whose solutions are some 100 characters, and as many tokens, long."""
    rng, rows = np.random.default_rng(0), problems * samples
    words = [
        " ".join(rng.choice(["so", "then", "boxes", "costs", "4*5=<<4*5=20>>20", "total"], 13))
        for _ in range(500)
    ]
    right = rng.random(rows) < np.repeat(rng.beta(0.8, 1.2, problems), samples)
    number = np.where(right, 7, rng.integers(8, 30, rows))
    text = [f"{words[row % 500]}\n#### {answer}" for row, answer in enumerate(number.tolist())]
    length = np.array([len(one) for one in text])
    offsets = pa.array(np.r_[0, np.cumsum(length)].astype(np.int32))
    letters = np.frombuffer("".join(text).encode(), np.uint8).astype(np.int32)
    value = np.clip(rng.normal(0.5, 0.3, len(letters)), 0, 1).astype(np.float32)
    table = pa.table(
        {
            "problem_id": np.repeat([f"{p:016x}" for p in range(problems)], samples),
            "sample_id": np.tile(np.arange(samples, dtype=np.int32), problems),
            "solution": text,
            "tokens": pa.ListArray.from_arrays(offsets, pa.array(letters)),
            "token_scores": pa.ListArray.from_arrays(offsets, pa.array(value)),
            "score": rng.random(rows),
        }
    )
    gold = pa.table(
        {
            "problem_id": table["problem_id"].unique(),
            "question": ["what is it? " * 20] * problems,
            "answer": ["7"] * problems,
        }
    )
    return assemble(table, gold, "numeric", table)


@needs_browser
def test_a_large_page_stays_small_and_says_what_it_leaves_out(tmp_path: pathlib.Path) -> None:
    split = big_split(1319, 100)
    writing.write(
        {TEST: split}, writing.About("large", tokenizer=ByteTokenizer()), CONFIG, 0, tmp_path
    )
    path = tmp_path / "index.html"
    assert 2_000_000 < path.stat().st_size < 5_000_000
    with browser(tmp_path / "profile") as driven:
        driven.open(path)
        assert driven.messages == []
        words = driven.run(
            "document.querySelector('#filters').parentElement.querySelector('.lead').textContent"
        )
        data = driven.run(DATA)["problems"]
        solutions = sum(len(one["solutions"]) for one in data)
        assert (
            "All 1,319 test problems are in this list, and of their 131,900 solutions "
            f"{solutions:,} on this page" in words
        )
        assert len(driven.run(TITLES)) == 50
        driven.point("#more", click=True)
        assert len(driven.run(TITLES)) == 100
        assert driven.run(
            "document.activeElement === document.querySelectorAll('#list summary')[50]"
        )


def test_the_room_for_solutions_is_kept_and_shared_fairly() -> None:
    split = big_split(40, 5)
    texts = token_texts(ByteTokenizer())
    small = browsing.browsed(split, 40, 0, texts, room=90_000)
    assert len(json.dumps(small, ensure_ascii=False).encode()) <= 90_000
    counts = [len(one["solutions"]) for one in small["problems"]]
    assert max(counts) - min(counts) <= 1 and len(small["problems"]) == 40
    few = browsing.browsed(split, 3, 0, texts)
    assert sum(bool(one["solutions"]) for one in few["problems"]) == 3
    assert [one["id"] for one in few["problems"]] == [one["id"] for one in small["problems"]]


def test_a_page_lists_as_many_problems_as_it_can_hold_and_says_how_many(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "_LISTED", 15)
    said = {}
    for problems in (40, 15, 1):
        split = big_split(problems, 5)
        writing.write(
            {TEST: split}, writing.About("long", tokenizer=ByteTokenizer()), CONFIG, 0, tmp_path
        )
        page_text = said[problems] = (tmp_path / "index.html").read_text()
        match = re.search(r'id="data">(.*?)</script>', page_text)
        data = json.loads(match[1])["problems"]
        ids = [one["id"] for one in data]
        assert (
            len(ids) == min(problems, 15)
            and ids == sorted(ids)
            and {*ids} <= {*split.candidates.problem_id_P.tolist()}
        )
        assert any(one["solutions"] for one in data)
        assert not re.search(r"\b1 (problem|sample|solution)s", page_text)
    assert (
        "15 of the 40 test problems, taken at random, are in this list, and of all their 200 "
        "solutions" in said[40]
    )
    assert (
        "All 15 test problems are in this list" in said[15]
        and "The only test problem is in this list" in said[1]
    )
    assert "clear of zero" not in said[1] and "clear of zero" in said[15]


@pytest.mark.parametrize("table", ["Results", "Differences", "One score out of many"])
def test_a_star_is_explained_below_the_table_that_has_it(
    tmp_path: pathlib.Path, table: str
) -> None:
    root = make_workdir(tmp_path)
    figures = writing.write_report(root, root / "report", CONFIG, seed=0)
    _without_stars(figures)
    split = figures["splits"]["test"]
    starred = {
        "Results": split["majority"],
        "Differences": split["differences"]["best_of_n-majority"],
        "One score out of many": split["aggregations"]["last"]["best_of_n"],
    }[table]
    starred["interval"] = "exact"
    about = dict.fromkeys(("name", "date", "grader"), "") | {
        "warnings": [],
        "notes": [],
        "settings": {},
        "facts": {},
    }
    html = page.render(figures, {}, {"scored": True, "problems": []}, about)
    sections = {text.partition("</h2>")[0]: text for text in html.split("<h2>")[1:]}
    explained = [name for name, text in sections.items() if results_table.EXACT in text]
    assert len(explained) == 1 and explained[0].startswith(table)
    assert ("where they have a star" in sections["Results"]) == (table == "Results")


def _without_stars(figures: Any) -> None:
    """Takes every exact interval for one of resamples."""
    if isinstance(figures, dict):
        figures.pop("interval", None)
        for inner in figures.values():
            _without_stars(inner)


@pytest.mark.parametrize("text", ["</script>", "<!--", "<SCRIPT", "a\u2028b", "\\u003c", '"'])
def test_embedded_text_comes_back_and_ends_no_script(text: str) -> None:
    embedded = page.embedded({"text": text})
    assert "<" not in embedded and json.loads(embedded) == {"text": text}


def test_token_texts_spell_the_solution_or_are_not_known() -> None:
    tokenizer = ByteTokenizer()
    texts = token_texts(tokenizer)
    assert texts(tokenizer.encode("a\u00a3b"), "a\u00a3b") == ["a", "", "\u00a3", "b"]
    assert texts(tokenizer.encode("ab"), "other") is None

    @dataclasses.dataclass
    class Spaces:
        """Drops a space that begins a text, as SentencePiece's own decoder does."""

        pieces: tuple[str, ...] = (" a", " b", "c")

        def decode(self, ids: list[int]) -> str:
            return "".join(self.pieces[token] for token in ids).removeprefix(" ")

        def token_text(self, token: int) -> str:
            return self.decode([token])

    assert token_texts(Spaces())([0, 1, 2, 1], "a bc b") == ["a", " b", "c", " b"]
