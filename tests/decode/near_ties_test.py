"""What counts as the same samples: a token drawn otherwise at a near tie, and nowhere else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.decode.near_ties import Drawn
from verifier.config import SampleConfig
from verifier.model import sampling

CONFIG = SampleConfig(temperature=1.0)
KEY = ("p", 3)
PLACE = 2  # where the planted difference is
UNIFORM = float(sampling.uniforms(sampling.sample_key(7, *KEY)[None], np.int32(PLACE))[0])


class Fixed:
    """A model that always has the same five tokens to choose from, by their shares."""

    def __init__(self, share: np.ndarray) -> None:
        self._logits = np.log(share)

    def hidden(self, tokens_BT: np.ndarray, *_: np.ndarray) -> np.ndarray:
        return np.zeros((*tokens_BT.shape, 1))

    def logits(self, hidden_D: np.ndarray) -> np.ndarray:
        return np.append(self._logits, 9.0)  # of a row that is never drawn


def drawn(distance: float, between: float = 0.0, config: SampleConfig = CONFIG) -> Drawn:
    """Tokens 1 and 2 (or 1 and 3, with `between` for 2) meet at so small a distance from the
    uniform number.
    """
    edge = UNIFORM + distance
    share = np.array([edge / 2, edge / 2, between or 0.1 * (1 - edge), 0.0, 0.1 * (1 - edge)])
    share[3] = 1 - share.sum()
    return Drawn(Fixed(share), 5, {"p": [4, 4]}, 7, config)


def tokens(*last: int) -> dict[tuple[str, int], list[int]]:
    """A sample that has the given tokens from PLACE on, among others that are all alike."""
    return {("q", n): [0, n] for n in range(150)} | {KEY: [0, 1, *last]}


@pytest.mark.parametrize("distance", [2e-6, -2e-6])
def test_a_near_tie_is_accepted_and_what_follows_it_is_not_compared(distance: float) -> None:
    assert drawn(distance).parted(tokens(1, 0, 0, 4), tokens(2)) == {KEY}
    assert drawn(distance, between=1e-6).parted(tokens(3, 1), tokens(1, 3)) == {KEY}
    assert drawn(distance).parted(tokens(1), tokens(1)) == set()


@pytest.mark.parametrize(
    ("distance", "between", "other"),
    [
        (1e-3, 0.0, 2),
        (-1e-3, 0.0, 2),
        (2e-6, 0.0, 0),
        (2e-6, 0.0, 4),
        (2e-6, 1e-3, 3),
        (2e-6, 0.0, 5),
    ],
)
def test_a_token_that_is_flipped_elsewhere_is_an_error(
    distance: float, between: float, other: int
) -> None:
    for pair in ((tokens(1), tokens(other)), (tokens(other), tokens(1))):
        with pytest.raises(AssertionError, match="not at a near tie"):
            drawn(distance, between).parted(*pair)


def test_a_sample_that_ends_early_or_is_missing_is_an_error() -> None:
    with pytest.raises(AssertionError, match="not at a near tie"):
        drawn(2e-6).parted(tokens(1), tokens(1, 2))
    with pytest.raises(AssertionError):
        drawn(2e-6).parted(tokens(1), {})


def test_many_near_ties_are_an_error() -> None:
    here, there = (
        {key: each for key, each in tokens(last).items() if key[0] == "p"} for last in (1, 2)
    )
    judge = drawn(2e-6)
    assert judge.parted(here, there) == {KEY}
    judge._near_tie = lambda *_: True
    many = [{("p", n): [n % 2, last] for n in range(150)} for last in (0, 1)]
    with pytest.raises(AssertionError, match="150 of 150 samples part"):
        judge.parted(*many)


def test_greedy_samples_part_only_between_the_two_most_likely() -> None:
    greedy = dataclasses.replace(CONFIG, temperature=0.0)
    share = np.array([0.1, 0.4, 0.4 - 1e-7, 0.1, 1e-7])
    judge = Drawn(Fixed(share), 5, {"p": [4]}, 7, greedy)
    assert judge.parted(tokens(1), tokens(2)) == {KEY}
    for wrong in (0, 3):
        with pytest.raises(AssertionError, match="not at a near tie"):
            judge.parted(tokens(1), tokens(wrong))


def test_with_top_k_and_top_p_the_order_is_that_of_the_shares() -> None:
    share = np.array([0.04, UNIFORM * 0.9, 0.02, (1 - UNIFORM) * 0.9, 0.04])
    small, large = sorted((1, 3), key=lambda token: share[token])
    for knobs in ({"top_k": 2}, {"top_p": 0.9 - 1e-9}):
        judge = Drawn(Fixed(share), 5, {"p": [4]}, 7, dataclasses.replace(CONFIG, **knobs))
        order, shares = judge._distribution([4, 0, 1])
        assert order[:2] == [large, small] and shares[:2].sum() == pytest.approx(1.0)
        near = abs(shares[0] - UNIFORM) < 1e-5
        if near:
            assert judge.parted(tokens(small), tokens(large)) == {KEY}
        with pytest.raises(AssertionError):
            judge.parted(tokens(0), tokens(large))
