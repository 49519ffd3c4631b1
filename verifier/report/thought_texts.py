"""Held-out text coloured by what thoughts gained, and where they gained and lost most.

The page's script draws the text. A token has the colour of its own gain: what a thought before it
added to its log-probability. What is shown of the thoughts before a token is the best of them,
which says what a thought can do; all figures are means over those that were drawn.
"""

from __future__ import annotations

import bisect
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.evaluate.thoughts import UNCHANGED

ROOM = 1_500_000  # bytes of JSON at most
SHADES = 11  # of the style; the one in the middle is none
# Nats from which on a gain has the next shade, up to three times as likely and more.
EDGES = (UNCHANGED, 0.05, 0.2, 0.5, 1.1)
_BEFORE = 12  # tokens before one that is listed
_LISTED = 8  # either way
_COLUMNS = (
    *("window", "document", "token", "text", "kind"),
    *("logprob_base", "logprob_talk", "mixing", "rewards", "thought"),
)


def shade(gain: float | None) -> int:
    """The colour of a gain in nats, from 0, much lost, over 5, unchanged or none, to 10."""
    if gain is None or math.isnan(gain):
        return SHADES // 2
    steps = bisect.bisect_right(EDGES, abs(gain))
    return SHADES // 2 + (steps if gain > 0 else -steps)


def browsed(
    tables: Mapping[str, pa.Table], most: int, seed: int, room: int = ROOM
) -> dict[str, Any]:
    """Windows of text, as JSON-able data for the page's script.

    Args:
        tables: rows of the table thoughts by thinker, of the same windows.
        most: windows at most.
        seed: of the choice of windows, where not all are there.
        room: bytes of JSON at most; one window is there in any case.

    Returns:
        "thinkers": their names; "windows", of each "window", "texts" of its tokens, "begins", where
        a further document begins, "kinds", and "read", by thinker of each token "shade", "base"
        and "talk" (chances in thousandths, None where nothing predicts it), "gain" and "reward" in
        thousandths of a nat, "mixing" in hundredths, and "thought".
    """
    rows = {name: _sorted(table) for name, table in tables.items()}
    first = next(iter(rows.values()))
    there = np.unique(first["window"].to_numpy())
    order = np.random.default_rng(seed).permutation(there)[:most]
    shown: dict[int, dict[str, Any]] = {}
    for window in order.tolist():
        made = _window(window, rows)
        room -= _size(made)
        if room < 0 and shown:
            break
        shown[window] = made
    return {"thinkers": list(rows), "windows": [shown[window] for window in sorted(shown)]}


def _window(window: int, rows: Mapping[str, pa.Table]) -> dict[str, Any]:
    own = {name: table.filter(pc.equal(table["window"], window)) for name, table in rows.items()}
    table = next(iter(own.values()))
    document = table["document"].to_numpy()
    return {
        "window": window,
        "texts": table["text"].to_pylist(),
        "begins": (1 + np.flatnonzero(np.diff(document))).tolist(),
        "kinds": table["kind"].to_pylist(),
        "read": [_read(each) for each in own.values()],
    }


def _read(table: pa.Table) -> dict[str, list[Any]]:
    """What one thinker made of a window."""
    base, talk = table["logprob_base"].to_pylist(), table["logprob_talk"].to_pylist()
    gains = [None if b is None else t - b for b, t in zip(base, talk, strict=True)]
    rewards = [sum(each) / len(each) if each else None for each in table["rewards"].to_pylist()]
    return {
        "shade": [shade(gain) for gain in gains],
        "base": [None if b is None else round(1000 * math.exp(b)) for b in base],
        "talk": [None if t is None else round(1000 * math.exp(t)) for t in talk],
        "gain": [_scaled(gain, 1000) for gain in gains],
        "reward": [_scaled(reward, 1000) for reward in rewards],
        "mixing": [_scaled(each, 100) for each in table["mixing"].to_pylist()],
        "thought": table["thought"].to_pylist(),
    }


def extremes(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """The tokens that thoughts helped and hurt most, the strongest first.

    Returns:
        "helped" and "hurt": of each its "text", what stands "before" it, "kind", "thought",
        chances "base" and "talk", and "gain"; none of a gain that counts as unchanged.
    """
    rows = _sorted(table)
    gain = pc.subtract(rows["logprob_talk"], rows["logprob_base"])
    gain_T = gain.to_numpy(zero_copy_only=False).astype(float)
    order = np.argsort(-np.nan_to_num(gain_T), kind="stable").tolist()
    helped = [index for index in order[:_LISTED] if gain_T[index] >= UNCHANGED]
    hurt = [index for index in order[::-1][:_LISTED] if gain_T[index] <= -UNCHANGED]
    return {
        name: [_listed(rows, index, float(gain_T[index])) for index in indices]
        for name, indices in (("helped", helped), ("hurt", hurt))
    }


def _listed(rows: pa.Table, index: int, gain: float) -> dict[str, Any]:
    before = rows.slice(max(index - _BEFORE, 0), min(index, _BEFORE)).select(
        ["window", "document", "text"]
    )
    (own,) = rows.slice(index, 1).to_pylist()
    same = [
        row["text"]
        for row in before.to_pylist()
        if (row["window"], row["document"]) == (own["window"], own["document"])
    ]
    return {
        "before": "".join(same),
        "cut": len(same) == _BEFORE,
        "text": own["text"],
        "kind": own["kind"],
        "thought": own["thought"],
        "base": math.exp(own["logprob_base"]),
        "talk": math.exp(own["logprob_talk"]),
        "gain": gain,
    }


def _sorted(table: pa.Table) -> pa.Table:
    keys = [(name, "ascending") for name in ("window", "document", "token")]
    return table.select(list(_COLUMNS)).sort_by(keys).combine_chunks()


def _scaled(value: float | None, times: int) -> int | None:
    return None if value is None else round(times * value)


def _size(made: Mapping[str, Any]) -> int:
    """Bytes of JSON in a page, where `<` is written with six characters."""
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode()) + 5 * text.count("<")
