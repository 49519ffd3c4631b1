"""What search has found for what it spent, as the report tells it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from verifier.data import trees
from verifier.evaluate import budget
from verifier.evaluate.equal_tokens import PlainSamples
from verifier.report import aggregation, search_trees
from verifier.tables import store, stored_splits
from verifier.tables.columns import ROW
from verifier.tables.results import LABELS, SAMPLES, SCORES, SEARCH
from verifier.tables.split_rows import SplitRows
from verifier.text.split import Split

_COLUMNS = ["problem_id", "method", "budget", "correct"]


class SearchReport(NamedTuple):
    """What a report tells of search.

    figures: by the names of splits.
    trees: of the split that the page is about, from `search_trees.browsed`; None: not searched.
    """

    figures: Mapping[str, budget.BudgetFigures]
    trees: Mapping[str, Any] | None


def read(
    root: pathlib.Path, splits: Mapping[Split, SplitRows], main: Split, resamples: int, seed: int
) -> SearchReport:
    """What a report tells of search.

    Args:
        root: the workdir.
        splits: plain samples.
        main: the split that the page is about.
        resamples: of the bootstrap.
        seed: of the same, and of the choice of shown problems.
    """
    trees = None
    if main in searched_splits(root):
        rows = splits[main]
        trees = search_trees.browsed(root, main, rows.question, rows.gold, seed)
    return SearchReport(by_split(root, splits, resamples, seed), trees)


def searched_splits(root: pathlib.Path) -> list[Split]:
    """The splits of a workdir that were searched to the end."""
    return [
        split for split in SEARCH.splits(root) if store.read_manifest(SEARCH.folder(root, split))
    ]


def scored(root: pathlib.Path, allow_missing: bool) -> dict[Split, SplitRows]:
    """The plain samples of those splits, as far as they are scored and judged.

    Args:
        root: the workdir.
        allow_missing: as in `stored_splits.read_workdir`, which says what is raised.
    """
    whole = [
        split
        for split in searched_splits(root)
        if all(store.read_manifest(each.folder(root, split)) for each in (SAMPLES, LABELS, SCORES))
    ]
    if not whole:
        return {}
    return stored_splits.read_workdir(root, whole, allow_missing=allow_missing)


def by_split(
    root: pathlib.Path, splits: Mapping[Split, SplitRows], resamples: int, seed: int
) -> dict[str, budget.BudgetFigures]:
    """`budget.by_method` of every split that was searched to the end, by its name.

    Args:
        root: the workdir.
        splits: plain samples; those of a split that has none, or none of the same models that are
            scored, are not compared with.
        resamples: of the bootstrap.
        seed: of the same.
    """
    figures = {}
    for split in searched_splits(root):
        folder = SEARCH.folder(root, split)
        rows = store.read_table(folder, "search", [*_COLUMNS, *budget.SPENT]).to_pylist()
        problems = {row["problem_id"] for row in rows}
        manifest = store.read_manifest(folder) or {}
        plain = plain_samples(splits[split], manifest, problems) if split in splits else None
        figures[str(split)] = budget.by_method(rows, resamples, seed, plain)
    return figures


def plain_samples(
    rows: SplitRows, manifest: Mapping[str, Any], problems: set[str]
) -> PlainSamples | None:
    """The plain samples of the problems that were searched, ranked as search ranks.

    None where they are of another generator, not scored by the same verifier or not at all; where
    search did not go by the verifier; where a problem has none; and where the table does not say
    how long prompts are, as earlier versions wrote it.

    Args:
        rows: of a split.
        manifest: of its search table.
        problems: ids of those that were searched.
    """
    settings, prompt_tokens = manifest["settings"], manifest.get("prompt_tokens")
    same = all(rows.facts(role) == [settings[role]] for role in ("generator", "verifier"))
    if not same or prompt_tokens is None or settings["search.scorer"] != "value":
        return None
    ranked = aggregation.applied(rows, settings["search.aggregation"], None).candidates
    kept_P = np.isin(ranked.problem_id_P, np.array(sorted(problems), dtype=object))
    if kept_P.sum() < len(problems):
        return None
    candidates = ranked.of_problems(kept_P)
    numbers = rows.rows[ROW].to_numpy()[candidates.row_C]
    texts = rows.texts.take(numbers, ["tokens"])["tokens"].combine_chunks()
    tokens_P, shared = [], []
    for start, count in zip(candidates.start_P, candidates.count_P, strict=True):
        own = _arrays(texts.slice(start, count))
        tokens_P.append(sum(map(len, own)))
        carriers_N = np.bincount(np.concatenate(trees.forest(own).paths))
        shared.append(np.unique(carriers_N, return_counts=True))
    return PlainSamples(
        candidates,
        np.array(tokens_P),
        prompt_tokens,
        np.repeat(np.arange(len(shared)), [len(carriers) for carriers, _ in shared]),
        np.concatenate([carriers for carriers, _ in shared]),
        np.concatenate([prefixes for _, prefixes in shared]),
    )


def _arrays(lists: pa.ListArray) -> list[np.ndarray]:
    """Lists of tokens, an array each."""
    values, ends = lists.flatten().to_numpy(), np.cumsum(lists.value_lengths().to_numpy())
    return np.split(values, ends[:-1])
