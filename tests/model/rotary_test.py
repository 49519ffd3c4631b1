import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from verifier.model.rotary import RopeScaling, inverse_frequencies, rotate, rotation

SCALINGS = [
    None,
    RopeScaling("linear", factor=4.0),
    RopeScaling("dynamic", factor=4.0, original_context=64),
    RopeScaling(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context=64
    ),
    RopeScaling("yarn", factor=4.0, original_context=512, beta_fast=8.0),
]


def naive_frequency(i: int, width: int, theta: float, scaling: RopeScaling | None) -> float:
    """Channel pair i, one at a time and case by case, as the papers tell it."""
    frequency = theta ** (-2 * i / width)
    if scaling is None or scaling.kind == "dynamic":
        return frequency
    if scaling.kind == "linear":
        return frequency / scaling.factor
    if scaling.kind == "llama3":
        wavelength = 2 * math.pi / frequency
        if wavelength < scaling.original_context / scaling.high_freq_factor:
            return frequency
        if wavelength > scaling.original_context / scaling.low_freq_factor:
            return frequency / scaling.factor
        smooth = (scaling.original_context / wavelength - scaling.low_freq_factor) / (
            scaling.high_freq_factor - scaling.low_freq_factor
        )
        return (1 - smooth) * frequency / scaling.factor + smooth * frequency
    bounds = [
        width * math.log(scaling.original_context / (beta * 2 * math.pi)) / (2 * math.log(theta))
        for beta in (scaling.beta_fast, scaling.beta_slow)
    ]
    low, high = max(math.floor(bounds[0]), 0), min(math.ceil(bounds[1]), width - 1)
    stretched = min(max((i - low) / (high - low), 0.0), 1.0)
    return frequency / scaling.factor * stretched + frequency * (1 - stretched)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s.kind if s else "none")
def test_frequencies_agree_with_a_naive_reference(scaling):
    width, theta = 32, 10000.0
    ours, amplitude = inverse_frequencies(width, theta, scaling)
    naive = [naive_frequency(i, width, theta, scaling) for i in range(width // 2)]
    np.testing.assert_allclose(ours, naive, rtol=1e-6)
    assert amplitude == pytest.approx(
        0.1 * math.log(4.0) + 1.0 if scaling and scaling.kind == "yarn" else 1.0
    )
    if scaling and scaling.kind in ("llama3", "yarn"):  # the sizes above reach all three cases
        ratio = np.asarray(ours) * theta ** (np.arange(0, width, 2) / width)
        assert (
            ratio[0] == pytest.approx(1)
            and ratio[-1] == pytest.approx(1 / scaling.factor)
            and len(np.unique(ratio.round(4))) > 2
        )


def test_rotation_pairs_channel_i_with_i_plus_half():
    x = np.arange(1.0, 9.0, dtype=np.float32).reshape(1, 1, 8)
    out = np.asarray(rotate(jnp.asarray(x), rotation(jnp.asarray([3]), 8, 100.0, None)))[0, 0]
    for i in range(4):
        turned = complex(x[0, 0, i], x[0, 0, i + 4]) * np.exp(1j * 3 * 100.0 ** (-2 * i / 8))
        np.testing.assert_allclose([out[i], out[i + 4]], [turned.real, turned.imag], rtol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s.kind if s else "none")
def test_scores_depend_on_the_distance_alone(scaling):
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 16))

    def score(at_q: int, at_k: int) -> float:
        turned_q = rotate(q, rotation(jnp.asarray([at_q]), 16, 1000.0, scaling))
        turned_k = rotate(k, rotation(jnp.asarray([at_k]), 16, 1000.0, scaling))
        return float(jnp.sum(turned_q * turned_k))

    assert score(7, 3) == pytest.approx(score(40, 36), abs=1e-4)
    assert abs(score(7, 3) - score(8, 3)) > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(kind="cubic"), "'cubic' is not known.*linear"),
        (dict(kind="linear", factor=0.5), "factor 0.5"),
        (dict(kind="llama3", factor=8.0), "original_context"),
        (
            dict(kind="llama3", factor=8.0, original_context=64, low_freq_factor=4.0),
            "low_freq_factor 4.0 must be below",
        ),
        (
            dict(kind="yarn", factor=8.0, original_context=64, attention_factor=-0.5),
            "attention_factor -0.5 must be above 0",
        ),
    ],
)
def test_impossible_scalings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RopeScaling(**settings)
