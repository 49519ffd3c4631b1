"""The report folder: metrics.json, index.html and the charts, each file whole or not there.

Knows where things go; computes nothing.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifier.config import ReportConfig
from verifier.errors import TokenizerError, UserError
from verifier.evaluate import caveats, metrics
from verifier.evaluate.calibration import are_probabilities
from verifier.evaluate.metrics import results_table
from verifier.grading import graders
from verifier.report import aggregation, browsing, heatmap, page, plots, positions
from verifier.report.svg import Drawing
from verifier.report.token_texts import token_texts
from verifier.system import atomic, checksums, paths
from verifier.tables import provenance, split_rows, store
from verifier.tables.joining import TOO_LONG
from verifier.tables.split_rows import SplitRows
from verifier.text.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Run", "results_table", "run_of_workdir", "write", "write_report"]

_WORKERS = 2
_JUDGED = 10_000  # solutions of a split on which the graders are compared


@dataclasses.dataclass(frozen=True)
class Run:
    """What a report says about the run beside its figures.

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
    root: pathlib.Path, out: pathlib.Path, config: ReportConfig, seed: int
) -> dict[str, Any]:
    """Reports on a workdir: held-out and test samples as they were labelled and scored.

    Args:
        root: the workdir.
        out: folder of the report, as in `write`.
        config: of the report.
        seed: of everything that is drawn.

    Returns:
        What metrics.json holds.

    Raises:
        StoreError: a table is missing, unfinished or damaged.
        TablesError: tables that do not belong together.
    """
    return write(
        split_rows.read_workdir(root, allow_missing=config.allow_missing),
        run_of_workdir(root),
        config,
        seed,
        out,
    )


def run_of_workdir(root: pathlib.Path) -> Run:
    """What a workdir's config.json, manifests and tokenizer tell; a workdir without them gives what
    there is.
    """
    root = paths.place(root)
    saved = _saved_config(root / "config.json")
    settings = saved.get("settings", {})
    facts = {"git revision": saved.get("git_revision"), **saved.get("versions", {})}
    return Run(
        name=saved.get("name") or root.resolve().name,
        settings=settings,
        facts={name: str(value) for name, value in facts.items() if value},
        config_hash=_config_hash(settings) if settings else None,
        seconds=_seconds(root),
        tokenizer=_tokenizer(root) if provenance.reads_stored_tokens(root) else None,
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
    splits: Mapping[str, SplitRows], run: Run, config: ReportConfig, seed: int, out: pathlib.Path
) -> dict[str, Any]:
    """Computes all figures and writes the report.

    Args:
        splits: rows by split, from `tables.read_workdir` or a rerank.
        run: what is known about the run.
        config: of the report; its aggregation decides the ranking.
        seed: of the bootstrap, of drawn subsets and of the choice of shown problems.
        out: folder for index.html, metrics.json and *.svg; made if need be.

    Returns:
        What metrics.json holds.

    Raises:
        AggregationError: what the aggregation needs is missing.
    """
    ranked = {
        name: aggregation.applied(split, config.aggregation, run.tokenizer)
        for name, split in splits.items()
    }
    main = page.main_split(metrics.reported(splits))
    figures, problems = _worked_out(splits, ranked, main, run, config, seed)
    notes = _notes(ranked, config)
    warnings = [line for name in figures for line in _doubts(name, splits[name], figures[name])]
    warnings += caveats.caveats({name: ranked[name].candidates for name in figures})
    about_run = {
        "config_hash": run.config_hash,
        "made_from": dict(run.made_from),
        "seconds": dict(run.seconds),
    }
    result = {
        "splits": figures,
        "aggregation": config.aggregation,
        "warnings": warnings,
        "notes": notes,
        **about_run,
    }
    charts: dict[str, Drawing | None] = {
        "accuracy": plots.accuracy_over_samples(figures[main]),
        "votes": plots.votes_over_k(figures, main),
        "heatmap": heatmap.votes(figures[main]),
        "reliability": plots.reliability(figures[main]),
        "scores": plots.score_histogram(ranked[main].candidates),
        "positions": plots.merit_by_position(figures[main]),
    }
    drawn = {name: chart for name, chart in charts.items() if chart}
    about = {
        "name": run.name,
        "date": datetime.date.today().strftime("%d %B %Y").lstrip("0"),
        "grader": splits[main].grader,
        "warnings": warnings,
        "notes": notes,
        "settings": run.settings,
        "facts": run.facts,
    }
    html = page.render(
        result, {chart.title: chart.render() for chart in drawn.values()}, problems, about
    )
    out = paths.place(out)
    # The figures last: where they are, the rest is too.
    files = {"metrics.json": atomic.as_json(result), "index.html": html.encode()}
    files |= {
        f"{name}.svg": chart.render(standalone=True).encode() for name, chart in drawn.items()
    }
    atomic.write_all(out, files, stale=[f"{name}.svg" for name in charts])
    return result


def _worked_out(
    splits: Mapping[str, SplitRows],
    ranked: Mapping[str, SplitRows],
    main: str,
    run: Run,
    config: ReportConfig,
    seed: int,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """All figures by split, those of the ranking and those that need its rows, and the problems
    that the page shows.

    Threads share the work, for numpy and pyarrow let go of the interpreter; what takes longest
    comes first.
    """
    names = metrics.reported(ranked)
    candidates = {name: split.candidates for name, split in ranked.items()}
    pool = concurrent.futures.ThreadPoolExecutor(_WORKERS)
    try:
        summarised = pool.submit(metrics.summarise, candidates, config.ks, config.resamples, seed)
        compared = pool.submit(aggregation.compare, splits, run.tokenizer, config.resamples, seed)
        by_position = {
            name: pool.submit(positions.by_position, ranked[name], config.resamples, seed)
            for name in names
        }
        disagreement = {name: pool.submit(_disagreement, ranked[name]) for name in names}
        votes = pool.submit(heatmap.shares, candidates[main], seed)
        texts = token_texts(run.tokenizer) if run.tokenizer else None
        problems = pool.submit(browsing.browsed, ranked[main], config.show_problems, seed, texts)
        figures, aggregations = summarised.result(), compared.result()
        for name, summary in figures.items():
            summary["grader_disagreement"] = disagreement[name].result()
            if summary["verifier"]:
                summary["verifier"]["by_position"] = by_position[name].result()
            summary["aggregations"] = aggregations[name]
            heldout = aggregations.get(metrics.HELDOUT) if name != metrics.HELDOUT else None
            summary["aggregation_chosen"] = aggregation.chosen(heldout, aggregations[name])
            summary["left_out"] = {"problems": ranked[name].left_out, **ranked[name].missing}
        figures[main]["top_k_vote_of"] = votes.result()
        return figures, problems.result()
    finally:
        # After an error, or Ctrl-C, what is under way ends and the rest is not begun.
        pool.shutdown(wait=False, cancel_futures=True)


def _disagreement(split: SplitRows) -> dict[str, Any]:
    rows = np.unique(
        np.linspace(0, len(split.rows) - 1, min(_JUDGED, len(split.rows))).astype(np.int64)
    )
    ids, numbers = (split.rows[name].take(rows).to_pylist() for name in ("problem_id", "sample_id"))
    solutions = split.cells(rows, ["solution"])["solution"]
    given = split.grader, split.verdicts(rows)
    return graders.disagreement(
        list(zip(ids, numbers, strict=True)), solutions, [split.gold[name] for name in ids], given
    )


def _doubts(name: str, split: SplitRows, figures: Mapping[str, Any]) -> list[str]:
    """What makes a split's verdicts doubtful, to be said before its figures
    (`graders.findings`).
    """

    def look(rows: np.ndarray) -> graders.Solutions:
        golds = [split.gold[problem] for problem in split.rows["problem_id"].take(rows).to_pylist()]
        return split.cells(rows, ["solution"])["solution"], golds

    answered = split.answer.is_valid().to_numpy(zero_copy_only=False)
    asked = {problem: split.gold[problem] for problem in split.candidates.problem_id_P.tolist()}
    return graders.findings(
        name, split.grader, answered, figures["mean_sample_accuracy"]["value"] == 0, asked, look
    )


def _notes(splits: Mapping[str, SplitRows], config: ReportConfig) -> list[str]:
    """What a reader must know before comparing figures."""
    notes = []
    if config.aggregation != "last":
        notes.append(
            f"Solutions rank by the aggregation {config.aggregation} of their token values, "
            "not by the value at the last token."
        )
    for name, split in splits.items():
        most = int(split.candidates.count_P.max())
        too_large = (
            [str(k) for k in config.ks if k > most] if split.candidates.score_C is not None else []
        )
        if too_large:
            notes.append(
                f"No {name} problem has more than {most:,} samples: the votes with k = "
                f"{', '.join(too_large)} are of all of them."
            )
        score_C = split.candidates.score_C
        if score_C is not None and not are_probabilities(split.candidates):
            scale = (
                f"The {name} scores, {score_C.min():.4g} to {score_C.max():.4g}, are no "
                "probabilities"
            )
            notes.append(
                f"{scale}: the weighted vote, the Brier score and the ECE, which need such, "
                "are left out."
            )
        for why, count in split.missing.items():
            if count:
                notes.append(
                    f"{count:,} {name} {why.replace('_', ' ')} are left out, as if they had "
                    f"not been drawn{_meaning(why)}."
                )
        generators = split.facts("generator")
        if len(generators) > 1:
            notes.append(
                f"The {name} samples come from {len(generators)} generators: "
                f"{', '.join(generators)}."
            )
        if split.left_out:
            left, (have, are) = (
                " left" * any(split.missing.values()),
                ("have", "are") if split.left_out > 1 else ("has", "is"),
            )
            notes.append(
                f"{metrics.counted(split.left_out, name + ' problem')} {have} no samples{left} "
                f"and {are} not counted."
            )
        if split.not_graded:
            why = f"{split.grader} took too long over them, or broke off"
            notes.append(
                f"{split.not_graded:,} {name} solutions were not graded and count as wrong: {why}."
            )
        if split.fixed_labels:
            notes.append(
                f"{len(split.fixed_labels):,} known-wrong gold answers of {name} were "
                f"corrected: {_changes(split.fixed_labels)}."
            )
    names = {split.grader for split in splits.values()}
    if len(names) > 1:
        notes.append(f"The splits were judged by different graders: {', '.join(sorted(names))}.")
    return notes


def _meaning(why: str) -> str:
    """What leaving samples out means, where what they lack has to do with the solution itself."""
    return (
        ": best-of-n, votes and all other figures are of the shorter ones, which may be the "
        "easier ones"
        if why == TOO_LONG
        else ""
    )


def _changes(fixed: Sequence[Mapping[str, str]]) -> str:
    return "; ".join(
        f"problem {each['problem_id']} from {each['old']} to {each['new']}" for each in fixed
    )


def _seconds(root: pathlib.Path) -> dict[str, float]:
    """Time spent in each stage, summed over its splits, from the manifests of what the stages
    made.
    """
    made = {
        "finetune": [root / "generator"],
        "sample": sorted((root / "tables" / "samples").glob("split=*")),
        "label": sorted((root / "tables" / "labels").glob("split=*")),
        "verify": [root / "verifier"],
        "score": sorted((root / "tables" / "scores").glob("split=*")),
    }
    spent = {
        stage: [(store.read_manifest(folder) or {}).get("seconds") for folder in folders]
        for stage, folders in made.items()
    }
    known = {
        stage: [float(one) for one in times if one is not None] for stage, times in spent.items()
    }
    return {stage: round(sum(times), 3) for stage, times in known.items() if times}


def _tokenizer(root: pathlib.Path) -> Tokenizer | None:
    """The tokenizer saved with the generator, or with the verifier, which has the same; None where
    there is none that can be read.
    """
    for folder in (root / "generator", root / "verifier"):
        try:
            return load_tokenizer(folder)
        except TokenizerError:
            continue
    return None
