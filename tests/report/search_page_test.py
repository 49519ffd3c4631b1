"""The trees of searched problems in a real browser: choices, keys, a phone's width, and nothing
that a text can do.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser, browser, needs_browser
from tests.report.report_test import CONFIG
from tests.report.searched import STEPS, make_searched
from verifier.report import writing

DATA = "JSON.parse(document.getElementById('trees').textContent)"
ITEMS = (
    "[...document.querySelectorAll('#tree li')].map(node => ({node: Number(node.dataset.node), "
    "level: node.getAttribute('aria-level'), kind: node.className.trim(), "
    "text: node.querySelector('.words').textContent, times: "
    "node.querySelector('.times').textContent, shade: node.querySelector('.words > span')"
    ".className, struck: getComputedStyle(node.querySelector('.words')).textDecorationLine}))"
)
AT = "Number(document.activeElement.dataset.node)"
READ = "document.querySelector('#reading pre').textContent"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, pathlib.Path]]:
    root = make_searched(tmp_path_factory.mktemp("searched"))
    writing.write_report(root, root / "report", CONFIG, seed=0)
    with browser(tmp_path_factory.mktemp("profile")) as driven:
        yield driven, root / "report" / "index.html"


def _show(driven: Browser, **wanted: Any) -> dict[str, Any]:
    """Chooses in the form; the tree that is to be seen then, with its texts."""
    for name, value in wanted.items():
        driven.run(
            f"(form => {{ form.elements.{name}.value = {json.dumps(str(value))}; "
            "form.dispatchEvent(new Event('input')); })(document.getElementById('tried'))"
        )
    (problem,) = (one for one in driven.run(DATA)["problems"] if one["id"] == wanted["problem"])
    (tree,) = (
        each
        for each in problem["trees"]
        if (each["method"], each["budget"]) == (wanted["method"], wanted["budget"])
    )
    return tree | {"words": [problem["texts"][index] for index in tree["text"]]}


@needs_browser
def test_every_tree_is_shown_as_it_is(opened: tuple[Browser, pathlib.Path]) -> None:
    driven, path = opened
    driven.open(path)
    assert driven.messages == [] and len(driven.run(DATA)["problems"]) == 12
    assert {address.partition(":")[0] for address in driven.addresses} <= {"file", "data"}
    verdicts = set()
    for name in ("test-00", "test-05", "test-11"):
        for method in ("sample", "beam"):
            for budget in (2, 6):
                tree = _show(driven, problem=name, method=method, budget=budget)
                items = driven.run(ITEMS)
                assert sorted(item["node"] for item in items) == list(range(len(tree["parent"])))
                for item in items:
                    node = item["node"]
                    assert item["text"] == tree["words"][node].strip()
                    assert item["times"] == f"\u00d7{tree['visits'][node]}"
                    assert item["shade"] == f"v{int(tree['value'][node] / 10 + 0.5)}"
                    dropped = node in tree["dropped"]
                    assert dropped == (item["struck"] == "line-through")
                    assert int(item["level"]) == 1 + (tree["parent"][node] >= 0)
                chosen = [item["node"] for item in items if item["kind"] == "chosen"]
                parent = tree["parent"][tree["chosen"]]
                assert chosen == [*([parent] if parent >= 0 else []), tree["chosen"]]
                roots = [item["node"] for item in items if item["level"] == "1"]
                values = [tree["value"][node] for node in roots]
                assert values == sorted(values, reverse=True)
                outcome = driven.run("document.getElementById('outcome').textContent")
                assert ("\u2713 right" in outcome) == tree["right"]
                verdicts.add(tree["right"])
    assert verdicts == {True, False}


@needs_browser
def test_keys_go_beside_down_and_back(opened: tuple[Browser, pathlib.Path]) -> None:
    driven, path = opened
    driven.open(path)
    tree = _show(driven, problem="test-02", method="beam", budget=6)
    first, end = tree["parent"][tree["chosen"]], tree["chosen"]
    other, worse = 1 - first, 5 - end  # of the other value, as `searched` makes them
    driven.run("document.querySelector('#tried [name=budget]').focus()")
    driven.key("Tab")
    assert driven.run(AT) == end, "what was handed in is the tree's place in the order of Tab"
    reached_by_tab = "document.querySelectorAll('#tree [tabindex=\"0\"]').length"
    outline = (
        "getComputedStyle(document.activeElement.querySelector('.step')).outlineStyle === 'solid'"
    )
    for key, node in (
        ("ArrowLeft", first),
        ("ArrowDown", other),
        ("ArrowUp", first),
        ("End", other),
        ("ArrowRight", other),
        ("Home", first),
        ("ArrowUp", first),
        ("ArrowLeft", first),
        ("ArrowRight", end),
        ("ArrowDown", worse),
        ("Home", end),
        ("End", worse),
        ("ArrowLeft", first),
    ):
        driven.key(key)
        assert driven.run(AT) == node, key
        assert driven.run(outline) and driven.run(reached_by_tab) == 1, key
        parent = tree["parent"][node]
        way = (tree["words"][parent] if parent >= 0 else "") + tree["words"][node]
        assert driven.run(READ) == way
    wide = "document.activeElement.getAttribute('aria-expanded')"
    inner = "document.querySelectorAll('#tree [role=group] li').length"
    hidden = "document.querySelector('#tree [role=group]').hidden"
    assert driven.run(wide) == "true" and driven.run(inner) == 2
    driven.key("Enter")
    assert driven.run(wide) == "false" and driven.run(hidden)
    driven.key("ArrowRight")
    assert driven.run(AT) == end and not driven.run(hidden)


@needs_browser
def test_what_helps_a_screen_reader(opened: tuple[Browser, pathlib.Path]) -> None:
    driven, path = opened
    driven.open(path)
    tree = _show(driven, problem="test-02", method="beam", budget=6)
    marks = driven.run(
        "[...document.querySelectorAll('#tree li')].map(node => [node.getAttribute('role'), "
        "node.getAttribute('aria-posinset'), node.getAttribute('aria-setsize'), "
        "node.parentElement.getAttribute('role'), node.getAttribute('aria-label'), "
        "Number(node.dataset.node)])"
    )
    assert [mark[:4] for mark in marks if tree["parent"][mark[5]] < 0] == [
        ["treeitem", "1", "2", "tree"],
        ["treeitem", "2", "2", "tree"],
    ]
    assert {mark[3] for mark in marks if tree["parent"][mark[5]] >= 0} == {"group"}
    for *_, label, node in marks:
        assert f"value {tree['value'][node] / 100:.2f}" in label
        assert label.endswith("given up") == (node in tree["dropped"])
        assert label.endswith("handed in") == (node not in tree["dropped"])


@needs_browser
def test_a_phone_has_all_of_it_and_texts_are_texts(opened: tuple[Browser, pathlib.Path]) -> None:
    driven, path = opened
    driven.look(390, 800)
    driven.open(path)
    tree = _show(driven, problem="test-02", method="beam", budget=6)
    first = tree["parent"][tree["chosen"]]
    assert driven.run("document.documentElement.scrollWidth") <= 390
    driven.point("#tree > li:last-child > .step", click=True)
    last = [node for node, parent in enumerate(tree["parent"]) if parent < 0 and node != first]
    assert driven.run(READ) == tree["words"][last[0]]
    assert STEPS[1] in tree["words"], "markup, which is shown"
    assert driven.run("document.querySelectorAll('#tree b, #reading b, #asked *').length") == 0
    assert max(map(len, STEPS)) > 90, "longer than a line"
    for part in ("#reading", "#tree .times"):
        ends = driven.run(
            f"[...document.querySelectorAll('{part}')].map(node => "
            "node.getBoundingClientRect().right)"
        )
        assert ends and min(ends) > 0 and max(ends) <= 390, part
    driven.look(1280, 800)
