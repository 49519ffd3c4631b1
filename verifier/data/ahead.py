"""Which tokens a thought is judged by: those behind it (Quiet-STaR, Zelikman et al. 2024)."""

from __future__ import annotations

import numpy as np


def ahead_targets(lm_weight_T: np.ndarray, ahead: int) -> dict[str, np.ndarray]:
    """Weights of the predictions behind thoughts.

    Of a text of five tokens, all of which are learned, two of them ahead:

        lm_weight      1   1   1   1   0     the last token predicts nothing
        ahead_weight   1   1   1   1   0     its first row; the second one: what stands one further
                       1   1   1   0   0
        policy_weight  1   1   1   0   0     a reward takes all of them

    Args:
        lm_weight_T: float32, of the prediction of each next token of one text.
        ahead: M, tokens that are predicted behind a thought.

    Returns:
        "ahead_weight" float32 [T, M] and "policy_weight" float32 [T]; 0 where a position's own next
        token is not learned.
    """
    padded = np.pad(lm_weight_T.astype(np.float32), (0, ahead - 1))
    ahead_TM = np.lib.stride_tricks.sliding_window_view(padded, ahead)
    ahead_TM = np.where(lm_weight_T[:, None] > 0, ahead_TM, np.float32(0))
    has_all_T = (ahead_TM > 0).all(axis=1)
    policy_T = np.where(has_all_T, lm_weight_T, 0).astype(np.float32)
    return {"ahead_weight": ahead_TM, "policy_weight": policy_T}
