"""The report of a run: its figures, charts and page, out of its rows."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from verifier.config import ReportConfig
from verifier.errors import TokenizerError, UserError
from verifier.evaluate import metrics
from verifier.evaluate.results_table import results_table
from verifier.grading import graders
from verifier.report import (
    aggregation,
    browsing,
    budgets,
    formatting,
    heatmap,
    notes,
    page,
    page_folder,
    plots,
    positions,
    search_figures,
)
from verifier.report.svg import Drawing
from verifier.report.token_texts import token_texts
from verifier.system import checksums, paths
from verifier.tables import own_likelihood, provenance, store, stored_splits
from verifier.tables.results import GENERATOR, RESULTS, VERIFIER, Result, Table
from verifier.tables.split_rows import SplitRows
from verifier.text.split import HELDOUT, Split
from verifier.text.tokenizer import Tokenizer, load_tokenizer

__all__ = ["About", "about_workdir", "results_table", "write", "write_report"]

_WORKERS = 2
_COMPARED = 10_000  # solutions of a split on which the graders are compared


@dataclasses.dataclass(frozen=True)
class About:
    """What a report says about its run beside the figures.

    Attributes:
        name: the page's title.
        settings: knobs by dotted path; empty for samples made elsewhere.
        facts: versions, git revision and the like, by name.
        config_hash: of the settings; None where they are not known.
        seconds: time spent in each stage.
        tokenizer: of the samples' tokens, for solutions coloured by token and for the aggregation
            `last_line`; None: not known.
        made_from: ids of the tables that are read, by folder, so that figures are known to be of
            those; empty where there are none.
    """

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    config_hash: str | None = None
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    made_from: Mapping[str, str] = dataclasses.field(default_factory=dict)


def write_report(
    root: pathlib.Path,
    out: pathlib.Path,
    config: ReportConfig,
    seed: int,
    about: About | None = None,
) -> dict[str, Any]:
    """Reports on a workdir: held-out and test samples as they were labelled and scored.

    Args:
        root: the workdir.
        out: folder of the report, as in `write`.
        config: of the report.
        seed: of everything that is drawn.
        about: what is known about the run; None: what `about_workdir` tells.

    Returns:
        What metrics.json holds.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: tables that do not belong together.
    """
    splits = stored_splits.read_workdir(root, allow_missing=config.allow_missing)
    search = budgets.read(root, splits, _main(splits), config.resamples, seed)
    return write(splits, about or about_workdir(root), config, seed, out, search)


def about_workdir(
    root: pathlib.Path,
    generator: pathlib.Path | None = None,
    results: Iterable[Result] = RESULTS,
) -> About:
    """What a workdir's config.json, manifests and tokenizer tell, as far as they are there.

    Args:
        root: the workdir.
        generator: the model that drew its samples; None: the one in it.
        results: of its stages, whose time is told.
    """
    root = paths.to_path(root)
    drawn_by = generator or GENERATOR.folder(root)
    own = drawn_by, VERIFIER.folder(root)
    saved = _saved_config(root / "config.json")
    settings = saved.get("settings", {})
    facts = {"git revision": saved.get("git_revision"), **saved.get("versions", {})}
    return About(
        name=saved.get("name") or root.resolve().name,
        settings=settings,
        facts={name: str(value) for name, value in facts.items() if value},
        config_hash=_config_hash(settings) if settings else None,
        seconds=_seconds(results, root),
        tokenizer=_tokenizer(own) if provenance.reads_stored_tokens(root, drawn_by) else None,
        made_from=provenance.ids(root),
    )


def _saved_config(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    way_out = (
        "put back a whole copy, start the run again, which writes it anew, or remove it: the "
        "report then goes without the settings"
    )
    saved = checksums.read_sealed(
        path, way_out, unsealed=("name", "seed", "settings", "versions", "git_revision")
    )
    for name in ("settings", "versions"):
        if not isinstance(saved.get(name, {}), dict):
            raise UserError(
                f"{path}: {name} is a JSON {type(saved[name]).__name__}, expected an object; "
                f"{way_out}"
            )
    return saved


def _config_hash(settings: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of the settings as canonical JSON."""
    return hashlib.sha256(
        json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()[:16]


def write(
    splits: Mapping[Split, SplitRows],
    about: About,
    config: ReportConfig,
    seed: int,
    out: pathlib.Path,
    search: budgets.SearchReport | None = None,
) -> dict[str, Any]:
    """Computes all figures and writes the report.

    Args:
        splits: rows by split, from `split_rows.read_workdir` or a rerank.
        about: what is known about the run.
        config: of the report; its aggregation decides the ranking.
        seed: of the bootstrap, of drawn subsets and of the choice of shown problems.
        out: folder for index.html, metrics.json and *.svg; made if need be.
        search: what there is to tell of search in these splits (`budgets.read`).

    Returns:
        What metrics.json holds.

    Raises:
        AggregationError: what the aggregation needs is missing.
    """
    ranked = {
        split: aggregation.applied(rows, config.aggregation, about.tokenizer)
        for split, rows in splits.items()
    }
    reported = {str(split): split for split in metrics.reported(splits)}
    main, search = str(_main(splits)), search or budgets.SearchReport({}, None)
    taken = len(page.embedded(search.trees).encode()) if search.trees else 0
    figures, problems = _worked_out(splits, ranked, reported[main], about, config, seed, taken)
    for name in figures.keys() & search.figures.keys():
        figures[name] |= search.figures[name].as_figures()
    result = {
        "splits": figures,
        "aggregation": config.aggregation,
        "warnings": notes.warnings(splits, ranked, figures),
        "notes": notes.notes(ranked, config),
        "config_hash": about.config_hash,
        "made_from": dict(about.made_from),
        "seconds": dict(about.seconds),
    }
    charts = _charts(figures, main, ranked[reported[main]])
    drawn = {name: chart for name, chart in charts.items() if chart}
    svgs = {chart.title: chart.render() for chart in drawn.values()}
    said = _said(about, splits[reported[main]].grader, result)
    html = page.render(result, svgs, problems, said, search.trees)
    page_folder.write(out, result, html, drawn, charts)
    return result


def _main(splits: Iterable[Split]) -> Split:
    """The split that the page is about."""
    reported = {str(split): split for split in metrics.reported(splits)}
    return reported[page.main_split(reported)]


def _said(about: About, grader: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says beside its figures, as `page.render` takes it."""
    return {
        "name": about.name,
        "date": formatting.today(),
        "grader": grader,
        "warnings": result["warnings"],
        "notes": result["notes"],
        "settings": about.settings,
        "facts": about.facts,
    }


def _charts(
    figures: Mapping[str, Mapping[str, Any]], main: str, ranked: SplitRows
) -> dict[str, Drawing | None]:
    """Every chart by the name of its file, in the page's order; None where there is no figure."""
    return {
        "accuracy": plots.accuracy_over_samples(figures[main]),
        "votes": plots.votes_over_k(figures, main),
        "heatmap": heatmap.votes(figures[main]),
        "reliability": plots.reliability(figures[main]),
        "scores": plots.score_histogram(ranked.candidates),
        "positions": plots.merit_by_position(figures[main]),
        "search": search_figures.accuracy_over_tokens(figures[main]),
    }


def _worked_out(
    splits: Mapping[Split, SplitRows],
    ranked: Mapping[Split, SplitRows],
    main: Split,
    about: About,
    config: ReportConfig,
    seed: int,
    taken: int,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """All figures by the names of splits, and the problems that the page has room for beside so
    many bytes.

    Threads share the work, for numpy and pyarrow let go of the interpreter; what takes longest
    comes first.
    """
    reported = metrics.reported(ranked)
    candidates = {split: rows.candidates for split, rows in ranked.items()}
    pool = concurrent.futures.ThreadPoolExecutor(_WORKERS)
    try:
        own = {
            split: own_likelihood.ranks(rows.rows)
            for split, rows in ranked.items()
            if len(rows.facts("generator")) < 2  # of several, they are not of one scale
        }
        summarised = pool.submit(
            metrics.summarise, candidates, config.ks, config.resamples, seed, own
        )
        compared = pool.submit(aggregation.compare, splits, about.tokenizer, config.resamples, seed)
        by_position = {
            split: pool.submit(positions.by_position, ranked[split], config.resamples, seed)
            for split in reported
        }
        disagreement = {split: pool.submit(_disagreement, ranked[split]) for split in reported}
        votes = pool.submit(heatmap.shares, candidates[main], seed)
        texts = token_texts(about.tokenizer) if about.tokenizer else None
        problems = pool.submit(
            browsing.browsed,
            ranked[main],
            config.show_problems,
            seed,
            texts,
            browsing.ROOM - taken,
        )
        figures, aggregations = summarised.result(), compared.result()
        for split in reported:
            summary, rows = figures[str(split)], ranked[split]
            summary["grader_disagreement"] = disagreement[split].result()
            if summary["verifier"]:
                summary["verifier"]["by_position"] = by_position[split].result()
            summary["aggregations"] = aggregations[split]
            heldout = aggregations.get(HELDOUT) if split != HELDOUT else None
            summary["aggregation_chosen"] = aggregation.chosen(heldout, aggregations[split])
            summary["left_out"] = {"problems": rows.left_out, **rows.missing}
        figures[str(main)]["top_k_vote_of"] = votes.result()
        return figures, problems.result()
    finally:
        # After an error, or Ctrl-C, what is under way ends and the rest is not begun.
        pool.shutdown(wait=False, cancel_futures=True)


def _disagreement(split: SplitRows) -> dict[str, Any]:
    rows = np.unique(
        np.linspace(0, len(split.rows) - 1, min(_COMPARED, len(split.rows))).astype(np.int64)
    )
    ids, numbers = (split.rows[name].take(rows).to_pylist() for name in ("problem_id", "sample_id"))
    solutions = split.cells(rows, ["solution"])["solution"]
    given = split.grader, split.verdicts(rows)
    return graders.disagreement(
        list(zip(ids, numbers, strict=True)), solutions, [split.gold[name] for name in ids], given
    )


def _seconds(results: Iterable[Result], root: pathlib.Path) -> dict[str, float]:
    """Time spent in each stage, summed over its splits, as the manifests of what it made tell.

    Args:
        results: of the stages, in their order.
        root: the workdir.
    """
    spent = {}
    for result in results:
        splits: Sequence[Split | None] = [None]
        if isinstance(result, Table):
            splits = result.splits(root)
        manifests = [store.read_manifest(result.folder(root, split)) or {} for split in splits]
        known = [float(each["seconds"]) for each in manifests if each.get("seconds") is not None]
        if known:
            spent[result.stage] = round(sum(known), 3)
    return spent


def _tokenizer(models: Sequence[pathlib.Path]) -> Tokenizer | None:
    """The tokenizer saved with the first of some models that has one; None: none can be read."""
    for folder in models:
        try:
            return load_tokenizer(folder)
        except TokenizerError:
            continue
    return None
