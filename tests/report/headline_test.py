"""What the page says first."""

import pytest

from verifier.report import page


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((0.1, 0.02, 0.2), "the verifier's choice is better (+10.0 points, 95% interval +2.0 to"),
        ((-0.1, -0.2, -0.02), "the verifier's is worse (−10.0 points"),
        ((0.1, -0.02, 0.2), "the two cannot be told apart (+10.0 points"),
    ],
)
def test_the_headline_tells_of_the_stronger_rival_that_takes_no_verifier(gain, said):
    def estimate(value, low=0.0, high=1.0):
        return {"value": value, "ci95": [low, high]}

    apart = estimate(*gain)
    split = {
        "n_problems": 100,
        "best_of_n": estimate(0.6),
        "likeliest": estimate(0.3),
        "likeliest_own": estimate(0.5),
        "differences": {"best_of_n-majority": apart, "best_of_n-likeliest_own": apart},
    }
    told = page._headline(split, "test")
    assert f"What its generator itself holds likeliest solves 50.0%: {said}" in told
    assert page._headline(split | {"likeliest": None, "likeliest_own": None}, "test") in told
