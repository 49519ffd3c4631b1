"""Whether two runs drew the same samples, on whatever processor.

float32 numbers add up in another order on another mesh, batch or CPU, so the two distributions that
a token is drawn from differ in their last digits. Where the uniform number lies right at the
boundary between two tokens, one run draws the one and the other run the other. That alone is
accepted, is counted, and must be rare; behind it the two samples have nothing more to do with each
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from verifier.config import SampleConfig
from verifier.model import sampling

# distance of the uniform number from the boundary; the distributions of two runs differ by some
# 1e-6
NEAR = 1e-5
FEW = 0.01  # share of the samples that may part at a near tie

Key = tuple[str, int]  # problem_id, sample_id


class Drawn:
    """What the samples were drawn with: enough to work out anew what any token was drawn from."""

    def __init__(
        self,
        model: Any,
        vocab_size: int,
        prompts: Mapping[str, Sequence[int]],
        seed: int,
        config: SampleConfig,
    ) -> None:
        """model: `hidden` and `logits` of whole texts, as `Transformer` has them; prompts: tokens
        by problem.
        """
        self._model, self._vocab_size, self._prompts, self._seed, self._config = (
            model,
            vocab_size,
            prompts,
            seed,
            config,
        )

    def parted(
        self, here: Mapping[Key, Sequence[int]], there: Mapping[Key, Sequence[int]]
    ) -> set[Key]:
        """The samples that part at a near tie; all others have the same tokens.

        Raises:
            AssertionError: a sample is missing, parts elsewhere, or more do than can be chance.
        """
        assert here.keys() == there.keys()
        found = {key for key in here if list(here[key]) != list(there[key])}
        for key in found:
            assert self._near_tie(key, list(here[key]), list(there[key])), (
                f"sample {key} was drawn otherwise, and not at a near tie"
            )
        assert len(found) <= max(1, FEW * len(here)), (
            f"{len(found)} of {len(here)} samples part at near ties: that is no chance"
        )
        if found:
            print(f"{len(found)} of {len(here)} samples part at a near tie: {sorted(found)}")
        return found

    def _near_tie(self, key: Key, one: list[int], other: list[int]) -> bool:
        """Whether two samples part where the uniform number lies at every boundary between the two
        tokens.
        """
        place = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if place is None:
            return False  # one goes on where the other has ended
        ids, share = self._distribution([*self._prompts[key[0]], *one[:place]])
        if not {one[place], other[place]} <= set(ids):
            return False
        first, last = sorted(ids.index(token) for token in (one[place], other[place]))
        if not self._config.temperature:
            return bool(share[first] - share[last] < NEAR and first == 0)
        uniform = float(
            sampling.uniforms(sampling.sample_key(self._seed, *key)[None], np.int32(place))[0]
        )
        boundaries = np.cumsum(share)[first:last]
        return bool(np.abs(boundaries - uniform).max() < NEAR)

    def _distribution(self, tokens: list[int]) -> tuple[list[int], np.ndarray]:
        """The ids that the next token is drawn from, in the order of the inverse CDF, and the share
        of each: by a plain forward pass.
        """
        tokens_1T = np.array([tokens], np.int32)
        hidden = self._model.hidden(tokens_1T, np.arange(len(tokens))[None], None)
        logits_V = np.asarray(self._model.logits(hidden[0, -1]), np.float64)[: self._vocab_size]
        config = self._config
        ids = np.arange(self._vocab_size)
        if config.top_k or config.top_p < 1 or not config.temperature:
            ids = np.argsort(-logits_V, kind="stable")[: config.top_k or None]
        weights = np.exp((logits_V[ids] - logits_V.max()) / (config.temperature or 1.0))
        before = np.cumsum(weights) - weights
        weights = (
            np.where(before < config.top_p * weights.sum(), weights, 0.0)
            if config.top_p < 1
            else weights
        )
        return ids.tolist(), weights / weights.sum()
