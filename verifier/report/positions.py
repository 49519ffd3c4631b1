"""How early in a solution the verifier knows: its figures at 10%, 20%, ... 100% of the tokens.

The value at 30% of a solution is that after its token number ceil(0.3 n), so that 100% is the last
token, whose value is the score.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.evaluate.calibration import are_probabilities, merit
from verifier.evaluate.intervals import FEWEST, Bootstrap
from verifier.tables.split_rows import SplitRows
from verifier.tables.token_values import COUNT, TENTHS, at_tenths


def by_position(split: SplitRows, resamples: int, seed: int) -> list[dict[str, Any]] | None:
    """The verifier's figures of merit at each tenth of the solutions, a row a share.

    What `calibration.discrimination` returns, with `share` before it and
    `auroc_within_problem_ci95` after it.

    Args:
        split: with what is kept of token values; solutions without any are left out.
        resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        Ten rows; None where there are no token values. Fewer than ten problems that can be told
        apart have no interval.
    """
    if split.candidates.score_C is None or COUNT not in split.rows.column_names:
        return None
    valued_C = split.rows[COUNT].to_numpy()[split.candidates.row_C] > 0
    if not valued_C.any():
        return None
    ranked, problems = split.candidates, len(split.candidates.count_P)
    row, right, problem = (
        column_C[valued_C] for column_C in (ranked.row_C, ranked.correct_C, ranked.problem_C)
    )
    value_R10 = at_tenths(split.rows)
    bootstrap = Bootstrap.draw(problems, resamples, seed)
    probable = are_probabilities(split.candidates)
    out = []
    for column, tenth in enumerate(TENTHS):
        value = value_R10[row, column].astype(np.float64)
        figures, auroc_P = merit(value, right, problem)
        figures |= {} if probable else dict.fromkeys(("brier", "ece"))
        within_P = np.pad(auroc_P, (0, problems - len(auroc_P)), constant_values=np.nan)
        both_P = ~np.isnan(within_P)
        enough = both_P.sum() >= FEWEST
        estimate = (
            bootstrap.ratio(np.where(both_P, within_P, 0.0), both_P.astype(np.float64))
            if enough
            else None
        )
        out.append(
            {
                "share": tenth / 10,
                **figures,
                "auroc_within_problem_ci95": estimate["ci95"] if estimate else None,
            }
        )
    return out
