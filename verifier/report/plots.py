"""The charts of the report, drawn from metrics.json (the histogram from the samples)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.results_table import counted
from verifier.report.svg import Chart, percent_ticks, size_ticks
from verifier.text.split import HELDOUT

_CURVES = (
    ("pass_at_k", "oracle dotted", "any right"),
    ("verifier_at_k", "verifier", "verifier's best"),
    ("majority_at_k", "majority dashed", "majority"),
    ("likeliest_at_k", "likeliest", "likeliest"),
)


def accuracy_over_samples(split: Mapping[str, Any]) -> Chart | None:
    """pass@k, verifier@k, majority@k and the likeliest of k against k with 95% bands.

    None where there is but one sample a problem.
    """
    return curves(
        "Accuracy against the number of samples",
        [(kind, name, split[key]) for key, kind, name in _CURVES if split.get(key)],
    )


def curves(
    title: str,
    lines: Sequence[tuple[str, str, Mapping[str, Any]]],
    size: str = "samples a problem",
    labelled: Sequence[int] | None = None,
) -> Chart | None:
    """Curves over a size with 95% bands; None if they are points.

    Args:
        title: of the chart.
        lines: of each curve its style, its name and its estimates by k.
        size: what k counts.
        labelled: which k have a label; None: as many as there is room for.
    """
    series = [(kind, name, _points(estimates)) for kind, name, estimates in lines]
    sizes = sorted({k for _, _, (ks, *_) in series for k in ks})
    if len(sizes) < 2:
        return None
    y_range, y_ticks = percent_ticks(*_extent(points for _, _, points in series))
    chart = Chart(title, (sizes[0], sizes[-1]), y_range, log=True, right=62)
    chart.axes(size, "problems solved", size_ticks(labelled or sizes), y_ticks)
    ends = []
    for kind, name, (ks, values, lows, highs) in series:
        chart.band(ks, lows, highs, kind.split()[0])
        chart.curve(
            ks,
            values,
            kind,
            [_hint(name, k, *row) for k, *row in zip(ks, values, lows, highs, strict=True)],
        )
        ends.append((chart.y(values[-1]) + 4, kind.split()[0], f"{100 * values[-1]:.1f}%"))
    for y, kind, words in _apart(ends, 15):
        chart.text(chart.x(sizes[-1]) + 8, y, words, kind=f"ink {kind}")
    chart.legend([(kind, name) for kind, name, _ in series])
    return chart


def votes_over_k(splits: Mapping[str, Any], split: str) -> Chart | None:
    """Top-k votes on a split and on held-out problems, the chosen k marked.

    None without scores.
    """
    votes = splits[split].get("top_k_vote")
    if not votes or len(votes) < 2:
        return None
    series = [("verifier", split, _points(votes))]
    heldout = splits.get(str(HELDOUT), {}).get("top_k_vote")
    if heldout and split != str(HELDOUT):
        series.append(("oracle dashed", "held out", _points(heldout)))
    majority = splits[split]["majority"]["value"]
    low, high = _extent(points for _, _, points in series)
    y_range, y_ticks = percent_ticks(min(low, majority), max(high, majority))
    sizes = sorted({k for _, _, (ks, *_) in series for k in ks})
    chart = Chart(
        "Votes among the k best scored against k", (sizes[0], sizes[-1]), y_range, log=True
    )
    chart.axes(
        "k, the highest scored samples that vote (k = 1: best-of-n)",
        "problems solved",
        size_ticks(sizes),
        y_ticks,
    )
    chosen = splits[split].get("top_k_vote_chosen")
    if chosen:
        chart.line((chosen["k"], y_range[0]), (chosen["k"], y_range[1]), "mark")
        at, words = chart.x(chosen["k"]), f"k = {chosen['k']} chosen"
        shift, anchor = (-6, "end") if at > 300 else (6, "start")
        chart.text(at + shift, 52, words, kind="strong", anchor=anchor)
    chart.line((sizes[0], majority), (sizes[-1], majority), "curve stroke dotted majority")
    for kind, name, (ks, values, lows, highs) in series[::-1]:
        chart.band(ks, lows, highs, kind.split()[0])
        chart.curve(
            ks,
            values,
            kind,
            [_hint(name, k, *row) for k, *row in zip(ks, values, lows, highs, strict=True)],
        )
    chart.legend(
        [
            *((kind, name) for kind, name, _ in series),
            ("majority dotted", f"majority of all ({split})"),
        ]
    )
    return chart


def reliability(split: Mapping[str, Any]) -> Chart | None:
    """Share of right samples against the score, a dot a bin, counts as bars at the foot.

    None without scores that are probabilities.
    """
    if not split.get("verifier"):
        return None
    bins = split["verifier"]["reliability"]
    if bins is None:
        return None
    chart = Chart("Reliability of the verifier's score", (0, 1), (0, 1))
    ticks = {n / 5: f"{n / 5:.1f}" for n in range(6)}
    chart.axes(
        "verifier's score", "samples that are right", ticks, {n / 5: f"{20 * n}%" for n in range(6)}
    )
    most = max(row["count"] for row in bins)
    for row in bins:
        hint = f"{row['low']:.1f} to {row['high']:.1f}: {counted(row['count'], 'sample')}"
        chart.bar((row["low"], row["high"]), (0, 0.22 * row["count"] / most), "oracle soft", hint)
    chart.line((0, 0), (1, 1), "mark")
    full = [row for row in bins if row["count"]]
    scores = [row["mean_score"] for row in full]
    hints = [
        f"score {row['mean_score']:.2f}: {100 * row['accuracy']:.1f}% right of {row['count']:,}"
        for row in full
    ]
    chart.curve(scores, [row["accuracy"] for row in full], "verifier", hints)
    chart.legend(
        [("verifier", "share that is right"), ("oracle soft", f"samples in a bin (most: {most:,})")]
    )
    return chart


def score_histogram(candidates: Candidates, bins: int = 30) -> Chart | None:
    """Scores of right samples upwards, of wrong ones downwards; None without scores."""
    if candidates.score_C is None:
        return None
    score, right = candidates.score_C, candidates.correct_C
    low, high = float(score.min()), float(score.max())
    if low >= -0.05 and high <= 1.05:
        low, high = min(0.0, low), max(1.0, high)
    high = high if high > low else low + 1
    edges = np.linspace(low, high, bins + 1)
    up, down = (np.histogram(score[mask], edges)[0] for mask in (right, ~right))
    top, foot = max(int(up.max()), 1), max(int(down.max()), 1)
    chart = Chart("Scores of right and of wrong samples", (low, high), (-foot * 1.05, top * 1.05))
    step = _round_step(max(top, foot))
    counts = [n * step for n in range(-(foot // step), top // step + 1)]
    x_ticks = {float(v): f"{v:.2g}" for v in np.linspace(low, high, 6)}
    chart.axes("verifier's score", "samples", x_ticks, {float(n): f"{abs(n):,}" for n in counts})
    for left, end, above, below in zip(
        edges[:-1], edges[1:], up.tolist(), down.tolist(), strict=True
    ):
        for count, kind, sign in ((above, "right", 1), (below, "wrong", -1)):
            if count:
                chart.bar(
                    (left, end),
                    (0, sign * count),
                    kind,
                    f"{left:.2f} to {end:.2f}: {count:,} {kind}",
                )
    chart.line((low, 0), (high, 0), "axis")
    chart.legend(
        [
            ("right", f"right, upwards ({int(right.sum()):,})"),
            ("wrong", f"wrong, downwards ({int((~right).sum()):,})"),
        ]
    )
    return chart


def merit_by_position(split: Mapping[str, Any]) -> Chart | None:
    """AUROC of the value after each tenth of a solution, pooled and within problems.

    With the 95% band of the latter; None without token values.
    """
    rows = [
        row
        for row in (split.get("verifier") or {}).get("by_position") or ()
        if row["auroc_within_problem_ci95"]
    ]
    if len(rows) < 2:
        return None
    shares, within = [row["share"] for row in rows], [row["auroc_within_problem"] for row in rows]
    lows, highs = ([row["auroc_within_problem_ci95"][end] for row in rows] for end in (0, 1))
    pooled = [row["auroc"] for row in rows]
    low, high = min(0.5, *lows, *pooled), max(0.6, *highs, *pooled)
    y_range, ticks = percent_ticks(low, high)
    chart = Chart(
        "AUROC against the share of a solution that is read", (shares[0], 1.0), y_range, right=24
    )
    chart.axes(
        "share of the solution's tokens",
        "AUROC",
        {s: f"{100 * s:.0f}%" for s in shares},
        {at: f"{at:.2f}" for at in ticks},
    )
    chart.line((shares[0], 0.5), (1.0, 0.5), "mark")
    chart.band(shares, lows, highs, "verifier")
    chart.curve(
        shares,
        pooled,
        "oracle dashed",
        [f"pooled, {100 * s:.0f}%: {v:.3f}" for s, v in zip(shares, pooled, strict=True)],
    )
    briers = ["" if row["brier"] is None else f", Brier {row['brier']:.3f}" for row in rows]
    hints = [
        f"within problems, {100 * s:.0f}%: {v:.3f}{brier}"
        for s, v, brier in zip(shares, within, briers, strict=True)
    ]
    chart.curve(shares, within, "verifier", hints)
    chart.legend([("verifier", "within problems"), ("oracle dashed", "pooled over problems")])
    return chart


def _points(curve: Mapping[str, Any]) -> tuple[list[int], list[float], list[float], list[float]]:
    rows = sorted((int(k), one["value"], *one["ci95"]) for k, one in curve.items())
    ks, values, lows, highs = (list(column) for column in zip(*rows, strict=True))
    return ks, values, lows, highs


def _extent(series: Any) -> tuple[float, float]:
    every = [point for _, _, lows, highs in series for point in (*lows, *highs)]
    return min(every), max(every)


def _hint(name: str, k: int, value: float, low: float, high: float) -> str:
    return f"{name}, {k}: {100 * value:.1f}% [{100 * low:.1f}, {100 * high:.1f}]"


def _apart(labels: Sequence[tuple[float, str, str]], room: float) -> list[tuple[float, str, str]]:
    """Labels moved down as far as it takes that none covers another."""
    out: list[tuple[float, str, str]] = []
    for y, kind, words in sorted(labels):
        out.append((max(y, out[-1][0] + room) if out else y, kind, words))
    return out


def _round_step(most: int) -> int:
    """A round distance between ticks that gives about four of them up to `most`."""
    rough = max(most / 4, 1)
    power = 10 ** int(np.floor(np.log10(rough)))
    return int(power * next(step for step in (1, 2, 5, 10) if power * step >= rough))
