"""Figures as people read them: rows by name, estimates in percent, a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from verifier.evaluate.metrics import HELDOUT

EXACT = "* exact interval: too few problems, or too few that the figure depends on, for a bootstrap"


class Shown(NamedTuple):
    """A figure of a split, as people are told of it."""

    key: str  # in metrics.json
    name: str
    words: str  # what it is


ROWS = (
    Shown("greedy_accuracy", "greedy", "the one solution at temperature 0"),
    Shown("mean_sample_accuracy", "mean sample", "a solution taken at random"),
    Shown("majority", "majority", "the most frequent answer"),
    Shown("likeliest", "likeliest", "the solution that its generator holds likeliest"),
    Shown("likeliest_own", "likeliest, drawn", "the same by drawn tokens, not the calculator's"),
    Shown("best_of_n", "best-of-n", "the solution the verifier scores highest"),
    Shown("top_k_vote_chosen", "top-k vote", "the most frequent answer among the k highest scored"),
    Shown("weighted_vote", "weighted vote", "the answer with the largest sum of scores"),
    Shown(
        "oracle_pass_at_n",
        "any of n (oracle)",
        "at least one solution is right: the ceiling for every choice",
    ),
)


def results_table(metrics: Mapping[str, Any]) -> str:
    """The results as plain text for a terminal, two splits beside each other.

    Lines have 79 columns where names of splits are short. What makes the figures doubtful is said
    before them.

    Args:
        metrics: what metrics.json holds.
    """
    names = sorted(metrics["splits"], key=lambda name: (name == str(HELDOUT), name))
    splits = {name: metrics["splits"][name] for name in names}
    warnings = [f"warning: {line}" for line in metrics.get("warnings") or []]
    lines = [*warnings]
    for first in range(0, len(names), 2):
        lines += [""] * bool(lines) + _rows(
            {name: splits[name] for name in names[first : first + 2]}
        )
    for name, split in splits.items():
        lines.append("")
        counts = (
            f"{counted(split['n_problems'], 'problem')}, {counted(split['n_samples'], 'sample')}"
        )
        lines.append(f"{name}: {counts}; 95% bootstrap over problems")
        for pair, estimate in (split.get("differences") or {}).items():
            if estimate:
                lines.append(f"  {pair.replace('-', ' - '):<38} {cell(estimate, signed=True)}")
        for method, estimate in (split.get("oracle_gap_closed") or {}).items():
            if estimate:
                lines.append(
                    f"  {'oracle gap closed by ' + method:<38} {cell(estimate, signed=True)}"
                )
        verifier = split.get("verifier")
        if verifier:
            figures = ", ".join(
                f"{key} {_plain(verifier[key])}"
                for key in ("auroc", "auroc_within_problem", "auprc")
            )
            lines.append(f"  verifier: {figures}")
            lines.append(
                f"            brier {_plain(verifier['brier'])}, ece {_plain(verifier['ece'])}"
            )
        if split.get("grader_disagreement"):
            lines.append(f"  {_graders(split['grader_disagreement'])}")
    seconds = ", ".join(
        f"{stage} {spent:,.0f}" for stage, spent in (metrics.get("seconds") or {}).items()
    )
    lines += ["", f"seconds, of all starts together: {seconds}"] if seconds else []
    lines += ["", EXACT] if shows_exact(splits) else []
    notes = metrics.get("notes") or []
    lines += ["", *(f"note: {note}" for note in notes)] if notes else []
    return "\n".join(line.rstrip() for line in lines)


def shows_exact(splits: Mapping[str, Any]) -> bool:
    """Whether a figure or difference has an exact interval, so that its star needs words."""
    estimates = (
        one
        for split in splits.values()
        for one in (*map(split.get, (row.key for row in ROWS)), *split["differences"].values())
    )
    return any(one and "interval" in one for one in estimates)


def _rows(splits: Mapping[str, Any]) -> list[str]:
    """The head and a line a method, for splits that stand beside each other."""
    lines = [f"{'':20}" + "".join(f"{name + ' (%)':<26}" for name in splits)]
    for row in ROWS:
        cells = [cell(split.get(row.key)) for split in splits.values()]
        if any(cells):
            k = next(
                (
                    split[row.key]["k"]
                    for split in splits.values()
                    if split.get(row.key) and "k" in split[row.key]
                ),
                None,
            )
            lines.append(
                f"{row.name + (f' (k={k})' if k else ''):<20}"
                + "".join(f"{cell or '-':<26}" for cell in cells)
            )
    return lines


def cell(estimate: Mapping[str, Any] | None, signed: bool = False) -> str:
    """An estimate in percent with its interval as plain text; empty where there is none.

    A star behind it says that the interval is exact.
    """
    if not estimate:
        return ""
    low, high = estimate["ci95"]
    sign = "+" if signed else ""
    star = "*" * (estimate.get("interval") == "exact")
    return (
        f"{100 * estimate['value']:{sign}5.1f} [{100 * low:{sign}.1f}, "
        f"{100 * high:{sign}.1f}]{star}"
    )


def counted(number: int, thing: str) -> str:
    """So many things in words: "1 problem", "1,319 problems"."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _graders(disagreement: Mapping[str, Any]) -> str:
    """How often the graders differ, and which two do most."""
    line = f"graders differ on {disagreement['share']:.1%} of {disagreement['judged']:,} solutions"
    most = disagreement["pairs"][0]
    if not most["differ"]:
        return line
    if len(disagreement["pairs"]) == 1:  # two graders: how much the one flatters
        alone = [
            f"{grader} alone holds {count / disagreement['judged']:.1%} right"
            for grader, count in most["only"].items()
        ]
        return f"{line}; {', '.join(alone)}"
    return f"{line}; most: {'/'.join(most['graders'])}, {most['share']:.1%}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
