"""Votes of the k best scored of N samples, for all N and k at once: the figures and their heat map.

Cobbe et al. 2021 (section 4.2, figure 7b) show accuracy against k at one N; how many samples to
draw and how many of them to let vote are one question, since the best k grows with N.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.evaluate.candidates import Candidates
from verifier.evaluate.subsets import vote_shares
from verifier.report.svg import Grid

_LEVELS = 9


def shares(candidates: Candidates, seed: int) -> dict[str, dict[str, float]] | None:
    """Share of problems solved by the vote of the k best of N random samples, by N and by k.

    None without scores or with one sample.

    Args:
        candidates: scored samples.
        seed: of the drawn subsets.
    """
    most = candidates.smallest
    if candidates.score_C is None or most < 2:
        return None
    steps = (step * 10**power for power in range(len(str(most))) for step in (1, 2, 5))
    sizes = sorted({size for size in steps if size < most} | {most})
    cells = [(size, k) for size in sizes for k in sizes if k <= size]
    share_P = vote_shares(candidates, cells, seed)
    return {
        str(n): {str(k): round(float(share_P[n, k].mean()), 6) for size, k in cells if size == n}
        for n in sizes
    }


def votes(split: Mapping[str, Any]) -> Grid | None:
    """The heat map of those shares in percent of problems solved, the best k of every N framed.

    None where there are none.
    """
    share_of = split.get("top_k_vote_of")
    if not share_of:
        return None
    sizes = [int(size) for size in share_of]
    every = [share for row in share_of.values() for share in row.values()]
    low, high = min(every), max(every)
    grid = Grid(
        "Top-k votes of N samples",
        sizes,
        sizes,
        "N, the samples drawn",
        "k, the best scored that vote; framed: the best k",
    )
    for n in sizes:
        row = {int(k): share for k, share in share_of[str(n)].items()}
        best = max(row, key=lambda k: row[k])  # of equals the smaller k
        for k, share in row.items():
            level = round((share - low) / ((high - low) or 1) * _LEVELS)
            grid.cell(
                n,
                k,
                level,
                f"{100 * share:.0f}",
                f"the {k:,} best of {n:,}: {100 * share:.1f}%",
                framed=k == best and n > 1,
            )
    return grid
