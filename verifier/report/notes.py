"""What a report says before its figures: what makes them doubtful, and how they were come by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from verifier.config import ReportConfig
from verifier.evaluate import caveats, metrics, results_table
from verifier.evaluate.calibration import are_probabilities
from verifier.grading import graders
from verifier.tables import own_likelihood
from verifier.tables.joining import TOO_LONG
from verifier.tables.split_rows import SplitRows
from verifier.text.split import Split


def warnings(
    splits: Mapping[Split, SplitRows],
    ranked: Mapping[Split, SplitRows],
    figures: Mapping[str, Mapping[str, Any]],
) -> list[str]:
    """What makes the figures doubtful, in words.

    Args:
        splits: as they were read.
        ranked: as they are ranked.
        figures: by the names of splits.
    """
    reported = {str(split): split for split in metrics.reported(splits)}
    lines = [
        line
        for name, split in reported.items()
        for line in doubts(name, splits[split], figures[name])
    ]
    return lines + caveats.caveats(
        {name: ranked[split].candidates for name, split in reported.items()}
    )


def doubts(name: str, split: SplitRows, figures: Mapping[str, Any]) -> list[str]:
    """What makes a split's verdicts doubtful, as `graders.findings` tells it."""

    def look(rows: np.ndarray) -> graders.Solutions:
        golds = [split.gold[problem] for problem in split.rows["problem_id"].take(rows).to_pylist()]
        return split.cells(rows, ["solution"])["solution"], golds

    answered = split.answer.is_valid().to_numpy(zero_copy_only=False)
    asked = {problem: split.gold[problem] for problem in split.candidates.problem_id_P.tolist()}
    return graders.findings(
        name, split.grader, answered, figures["mean_sample_accuracy"]["value"] == 0, asked, look
    )


def notes(splits: Mapping[Split, SplitRows], config: ReportConfig) -> list[str]:
    """What a reader must know before comparing figures.

    Args:
        splits: as they are ranked.
        config: of the report.
    """
    lines = []
    if config.aggregation != "last":
        lines.append(
            f"Solutions rank by the aggregation {config.aggregation} of their token values, "
            "not by the value at the last token."
        )
    for name, split in splits.items():
        lines += [*_on_scores(str(name), split, config.ks), *_on_samples(str(name), split)]
    lines += _on_sharing(splits)
    names = {split.grader for split in splits.values()}
    if len(names) > 1:
        lines.append(f"The splits were graded by different graders: {', '.join(sorted(names))}.")
    return lines


def _on_scores(name: str, split: SplitRows, ks: Sequence[int]) -> Iterator[str]:
    """Votes that do not have the k they are named for, and scores that are no probabilities."""
    score_C = split.candidates.score_C
    if score_C is None:
        return
    most = int(split.candidates.count_P.max())
    if too_large := [str(k) for k in ks if k > most]:
        yield (
            f"No {name} problem has more than {most:,} samples: the votes with k = "
            f"{', '.join(too_large)} are of all of them."
        )
    if not are_probabilities(split.candidates):
        yield (
            f"The {name} scores, {score_C.min():.4g} to {score_C.max():.4g}, are no "
            "probabilities: the weighted vote, the Brier score and the ECE, which need such, "
            "are left out."
        )


def _on_samples(name: str, split: SplitRows) -> Iterator[str]:
    """Samples that do not count, whose they are, and verdicts that are not as usual."""
    for why, count in split.missing.items():
        if count:
            yield (
                f"{count:,} {name} {why.replace('_', ' ')} are left out, as if they had "
                f"not been drawn{_meaning(why)}."
            )
    generators = split.facts("generator")
    if len(generators) > 1:
        yield (
            f"The {name} samples come from {len(generators)} generators: {', '.join(generators)}. "
            "So which is likeliest is not told: no two of them measure alike."
        )
    elif unknown := own_likelihood.unknown(split.rows):
        are = "have" if unknown > 1 else "has"
        yield (
            f"{unknown:,} of the {len(split.rows):,} {name} samples {are} no likelihood, for lack "
            "of an end or of log-probabilities: what is likeliest is one of the others."
        )
    if split.left_out:
        left = " left" * any(split.missing.values())
        have, are = ("have", "are") if split.left_out > 1 else ("has", "is")
        yield (
            f"{results_table.counted(split.left_out, name + ' problem')} {have} no samples{left} "
            f"and {are} not counted."
        )
    if split.not_graded:
        why = f"{split.grader} took too long over them, or broke off"
        yield f"{split.not_graded:,} {name} solutions were not graded and count as wrong: {why}."
    if split.fixed_labels:
        yield (
            f"{len(split.fixed_labels):,} known-wrong gold answers of {name} were "
            f"corrected: {_changes(split.fixed_labels)}."
        )


def _on_sharing(splits: Mapping[Split, SplitRows]) -> Iterator[str]:
    """How much of the samples has been drawn once for several of them."""
    if shared := [
        f"{split.prefixes / split.tokens:.0%} of the {split.tokens:,} tokens of the {name} samples"
        for name, split in splits.items()
        if split.prefixes < split.tokens
    ]:
        yield (
            f"Distinct prefixes are {', '.join(shared)}: the rest is what another sample of the "
            "problem begins with, too."
        )


def _meaning(why: str) -> str:
    """What leaving samples out means, where what they lack has to do with the solution itself."""
    if why != TOO_LONG:
        return ""
    return (
        ": best-of-n, votes and all other figures are of the shorter ones, which may be the "
        "easier ones"
    )


def _changes(fixed: Sequence[Mapping[str, str]]) -> str:
    return "; ".join(
        f"problem {each['problem_id']} from {each['old']} to {each['new']}" for each in fixed
    )
