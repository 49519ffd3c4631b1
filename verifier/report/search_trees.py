"""The trees of searched problems that the page shows, as its script draws them.

A problem's trees share one list of texts, for methods begin with the same steps. As in the list of
problems, some problems at random are there, as many as there is room for.
"""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.evaluate.budget import BASELINE
from verifier.tables import store
from verifier.tables.results import SEARCH
from verifier.text.split import Split

ROOM = 900_000  # bytes of JSON
_ASKED = 8  # problems whose trees are read at once
_COLUMNS = (
    *("problem_id", "method", "budget", "solution", "score", "answer", "correct"),
    *("node", "parent", "text", "value", "visits", "kept"),
)


def browsed(
    root: pathlib.Path,
    split: Split,
    question: Mapping[str, str],
    gold: Mapping[str, str],
    seed: int,
    room: int = ROOM,
) -> dict[str, Any]:
    """Trees of a split's problems, as JSON-able data for the page's script.

    Args:
        root: of a workdir whose split was searched to the end.
        split: of the table.
        question: of problems, by id; may lack some.
        gold: right answers, by id.
        seed: of the choice of problems, where not all have room.
        room: bytes of JSON at most; one problem is there in any case.

    Returns:
        `valued`: values are chances of a right answer, so that they have colours; `searched`: how
        many problems were; `problems`, in order of their ids: `id`, `question` (None: not known),
        `gold`, `texts`, and `trees`, plain samples first: `method`, `budget`, `answer`, `right`,
        and of nodes `parent` (-1: none), `text` (index into `texts`), `value` in hundredths (None:
        not scored), `visits`, `dropped` (indices of those that were given up) and `chosen`, the
        node that ends the solution that was handed in (None: not found).
    """
    folder = SEARCH.folder(root, split)
    settings = (store.read_manifest(folder) or {})["settings"]
    table = store.read_table(folder, "search", list(_COLUMNS))
    ids = sorted(pc.unique(table["problem_id"]).to_pylist())
    order = [ids[index] for index in np.random.default_rng(seed).permutation(len(ids)).tolist()]
    shown: dict[str, dict[str, Any]] = {}
    for name, own in _by_problem(table, order):
        about = {"id": name, "question": question.get(name), "gold": gold.get(name)}
        made = about | _problem(own)
        room -= _size(made)
        if room < 0 and shown:
            break
        shown[name] = made
    by_chance = settings["search.scorer"] == "value" and settings["search.aggregation"] != "product"
    return {
        "valued": by_chance,  # of products the values are logarithms
        "searched": len(ids),
        "problems": [shown[name] for name in sorted(shown)],
    }


def _by_problem(
    table: pa.Table, order: Sequence[str]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The rows of each problem, in this order; few of them at a time."""
    for first in range(0, len(order), _ASKED):
        some = order[first : first + _ASKED]
        rows = table.filter(pc.is_in(table["problem_id"], pa.array(some))).to_pylist()
        for name in some:
            yield name, [row for row in rows if row["problem_id"] == name]


def _size(made: Mapping[str, Any]) -> int:
    """Bytes of JSON in a page, where `<` is written with six characters."""
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 5 * text.count("<")


def _problem(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The trees of a problem, and the texts that they refer to."""
    texts: dict[str, int] = {}
    trees = [_tree(row, texts) for row in sorted(rows, key=_place)]
    return {"texts": list(texts), "trees": trees}


def _place(row: Mapping[str, Any]) -> tuple[bool, str, int]:
    """Plain samples first, then by name and budget."""
    return row["method"] != BASELINE, row["method"], row["budget"]


def _tree(row: Mapping[str, Any], texts: dict[str, int]) -> dict[str, Any]:
    """A tree; its texts are added to those that are there."""
    return {
        "method": row["method"],
        "budget": row["budget"],
        "answer": row["answer"],
        "right": row["correct"],
        "parent": row["parent"],
        "text": [texts.setdefault(text, len(texts)) for text in row["text"]],
        "value": [round(100 * one) if math.isfinite(one) else None for one in row["value"]],
        "visits": row["visits"],
        "dropped": [node for node, kept in enumerate(row["kept"]) if not kept],
        "chosen": _chosen(row),
    }


def _chosen(row: Mapping[str, Any]) -> int | None:
    """The node that ends the solution that was handed in; None: none has its score.

    Of several with that score, which are few but where all score alike: the one whose way spells
    the solution, which some tokenizers spoil, then one that was not given up, then a leaf.
    """
    same = [node for node, value in enumerate(row["value"]) if value == row["score"]]
    inner = set(row["parent"])

    def likely(node: int) -> tuple[bool, bool, bool]:
        return _way(row, node) == row["solution"], row["kept"][node], node not in inner

    return max(same, key=likely, default=None)


def _way(row: Mapping[str, Any], node: int) -> str:
    """The text from the root to the end of a node."""
    pieces = []
    while node >= 0:
        pieces.append(row["text"][node])
        node = row["parent"][node]
    return "".join(pieces[::-1])
