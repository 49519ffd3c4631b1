"""A small workdir that was searched: plain samples as they are stored, and made-up beams."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from tests.report.report_test import make_workdir
from verifier.tables import store
from verifier.tables.reading import read_table
from verifier.tables.results import SEARCH
from verifier.text.split import TEST

SETTINGS = {
    "generator": "g1",
    "verifier": "v1",
    "search.scorer": "value",
    "search.aggregation": "last",
}
PROMPT_TOKENS = 10.0
BUDGETS = (2, 6)
LONG = "first" + " \u00a33*6=18" * 12 + "\n"
STEPS = (LONG, "or <b>3+6</b>=9\n", "so it is", "#### 18", "#### 7")


def make_searched(
    root: pathlib.Path,
    scored: bool = True,
    settings: dict[str, Any] | None = None,
    value: float | None = None,
    spelled: bool = True,
) -> pathlib.Path:
    """A workdir of `make_workdir` whose first twelve test problems were searched.

    Args:
        root: of the workdir.
        scored: whether its plain samples are.
        settings: of the search.
        value: of all nodes; None: others.
        spelled: whether the nodes' texts make up the solution, which some tokenizers spoil.
    """
    make_workdir(root, scored=scored)
    stored: dict[str, list[dict[str, Any]]] = {}
    labels = read_table(root / "tables" / "labels" / "split=test", "labels").to_pylist()
    samples = read_table(root / "tables" / "samples" / "split=test", "samples").to_pylist()
    for sample, label in zip(samples, labels, strict=True):
        assert sample["sample_id"] == label["sample_id"]
        stored.setdefault(sample["problem_id"], []).append({**label, **sample})
    rng, rows = np.random.default_rng(0), []
    for name in sorted(stored)[:12]:
        for budget in BUDGETS:
            rows += [_best_of(name, stored[name][:budget], rng), _beam(name, budget, rng)]
    for row in rows:
        if value is not None:
            row |= {"value": [value] * len(row["node"]), "score": value}
        if not spelled:
            row["solution"] += " "
    writer = store.TableWriter(SEARCH.folder(root, TEST), "search", settings or SETTINGS)
    writer.append(rows)
    writer.finish({"seconds": 2.5, "prompt_tokens": PROMPT_TOKENS})
    return root


def _row(name: str, method: str, budget: int, tree: list[tuple[Any, ...]]) -> dict[str, Any]:
    """A row of the table, of nodes (parent, text, value, visits, kept)."""
    names = "parent", "text", "value", "visits", "kept"
    columns = dict(zip(names, zip(*tree, strict=True), strict=True))
    tokens = [min(len(text), 16) for text in columns["text"]]  # say
    return {
        "problem_id": name,
        "method": method,
        "budget": budget,
        "tokens_generated": int(np.dot(tokens, columns["visits"])),
        "prefixes_generated": sum(tokens),
        "tokens_scored": int(PROMPT_TOKENS) + sum(tokens),
        "model_calls": len(tree),
        "seconds": 0.5,
        "node": list(range(len(tree))),
        **{key: list(column) for key, column in columns.items()},
    }


def _best_of(name: str, samples: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, Any]:
    tree = [(-1, each["solution"], float(rng.random()), 1, True) for each in samples]
    best = int(np.argmax([node[2] for node in tree]))
    made = {key: samples[best][key] for key in ("solution", "answer", "correct")}
    return {**_row(name, "sample", len(samples), tree), **made, "score": tree[best][2]}


def _beam(name: str, budget: int, rng: np.random.Generator) -> dict[str, Any]:
    """Two first steps, of which the better goes on; two ends, of which the better is handed in."""
    values = np.round(rng.random(4), 2)
    first, end = int(np.argmax(values[:2])), 2 + int(np.argmax(values[2:]))
    tree = [
        (-1, STEPS[0], float(values[0]), budget - 1, first == 0),
        (-1, STEPS[1], float(values[1]), 1, first == 1),
        (first, STEPS[3], float(values[2]), 1, end == 2),
        (first, STEPS[4], float(values[3]), budget - 1, end == 3),
    ]
    made = {
        "solution": STEPS[first] + STEPS[end + 1],
        "score": float(values[end]),
        "answer": ("18", "7")[end - 2],
        "correct": end == 2,
    }
    return {**_row(name, "beam", budget, tree), **made}
