"""What thoughts gained: figures against plain loops, and intervals that hold the truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from verifier.errors import DataError
from verifier.evaluate import thoughts
from verifier.evaluate.thoughts import UNCHANGED, Gains

HARD_SHARE = 0.25


def planted(seed=0, documents=40, truth=0.2, shift=0.3, sizes=(5, 30)):
    """Hard tokens gain `truth` on average, easy ones nothing; what a document gains is its own."""
    rng = np.random.default_rng(seed)
    size_P = rng.integers(*sizes, documents)
    document_T = np.repeat(np.arange(documents), size_P)
    hard_T = rng.random(len(document_T)) < HARD_SHARE
    base_T = -rng.gamma(1.0, np.where(hard_T, 2.0, 0.3))
    own_T = shift * rng.standard_normal(documents)[document_T]
    gain_T = np.where(hard_T, truth + own_T + 0.1 * rng.standard_normal(len(hard_T)), 0.0)
    reward_T = gain_T * 2
    reward_T[np.append(document_T[1:] != document_T[:-1], True)] = np.nan
    return Gains(
        document_T=np.char.add("text ", document_T.astype(str)),
        window_T=document_T * 3,
        kind_T=np.where(hard_T, "hard", "easy"),
        base_T=base_T,
        talk_T=base_T + gain_T,
        reward_T=reward_T,
        mixing_T=rng.random(len(hard_T)),
        entropy_T=np.full(len(hard_T), np.nan),
    )


def test_figures_are_those_of_a_plain_loop():
    own = planted()
    other = dataclasses.replace(own, talk_T=own.talk_T - 0.05)
    found = thoughts.figures({"thinker": own, "pauses": other}, 50, 0)
    tokens = list(zip(own.kind_T, own.base_T, own.talk_T, own.reward_T, strict=True))
    assert found["tokens"] == len(tokens) == sum(found["kinds"].values())
    assert (found["over"], found["resampled"], found["documents"]) == ("documents", 40, 40)
    for group in ("all", "hard", "easy"):
        here = [each for each in tokens if group in ("all", each[0])]
        made = found["thinkers"]["thinker"][group]
        gains = [talk - base for _, base, talk, _ in here]
        rewards = [reward for *_, reward in here if reward == reward]
        expected = {
            "base_nll": -sum(base for _, base, _, _ in here) / len(here),
            "talk_nll": -sum(talk for _, _, talk, _ in here) / len(here),
            "gain": sum(gains) / len(here),
            "reward": sum(rewards) / len(rewards),
            "unchanged": sum(-UNCHANGED < gain < UNCHANGED for gain in gains) / len(here),
            "helped": sum(gain >= UNCHANGED for gain in gains) / len(here),
        }
        for name, value in expected.items():
            assert made[name]["value"] == pytest.approx(value, abs=1e-8), (group, name)
            low, high = made[name]["ci95"]
            assert low <= made[name]["value"] <= high
        shares = (made[name]["value"] for name in ("unchanged", "helped", "hurt"))
        assert sum(shares) == pytest.approx(1)
        assert made["entropy"] is None and made["over_first"] is None
        middle = sorted(gains)[len(gains) // 2] + sorted(gains)[(len(gains) - 1) // 2]
        assert made["quantiles"]["0.5"] == pytest.approx(middle / 2)
        apart = found["thinkers"]["pauses"][group]["over_first"]
        assert apart["value"] == pytest.approx(-0.05)
        assert apart["ci95"] == pytest.approx([-0.05, -0.05])  # paired: of every token the same


def test_levels_hold_all_tokens_from_the_easiest_on():
    own = planted()
    levels = thoughts.figures({"thinker": own}, 50, 0)["levels"]["thinker"]
    assert sum(each["tokens"] for each in levels) == len(own.base_T)
    total = sum(each["tokens"] * each["gain"]["value"] for each in levels)
    assert total == pytest.approx(own.gain_T.sum())
    for before, after in zip(levels, levels[1:], strict=False):
        assert before["low"] <= before["high"] <= after["low"]


def test_shifts_by_chance_gain_nothing_at_any_level():
    """By the loss without thoughts alone the hardest would gain, and the easiest lose."""
    rng, count = np.random.default_rng(0), 20_000
    hard_T = rng.gamma(8.0, 0.25, count)
    noise_T, other_T = 0.5 * rng.standard_normal((2, count))
    nothing = np.zeros(count)
    own = Gains(
        np.arange(count) // 50, np.arange(count) // 50, np.full(count, ""),
        -(hard_T + noise_T), -(hard_T + other_T), nothing, nothing + 1, nothing,
    )  # fmt: skip
    levels = thoughts.figures({"thinker": own}, 100, 0)["levels"]["thinker"]
    assert max(abs(each["gain"]["value"]) for each in levels) < 0.05
    hardest = np.argsort(own.base_T)[: count // 5]
    assert own.gain_T[hardest].mean() > 0.2


def test_intervals_hold_the_truth():
    """Tokens of a document gain alike: over tokens, intervals would be far too narrow."""
    held = {"gain": 0, "reward": 0}
    runs = 200
    for seed in range(runs):
        made = thoughts.figures({"x": planted(seed, 30)}, 200, seed)["thinkers"]["x"]["hard"]
        for name, truth in (("gain", 0.2), ("reward", 0.4)):
            low, high = made[name]["ci95"]
            held[name] += low <= truth <= high
    for name, count in held.items():
        assert 0.87 * runs <= count < runs, name


def test_few_documents_go_by_windows_and_few_windows_have_no_intervals():
    own = planted(documents=12)
    one = dataclasses.replace(own, document_T=np.zeros_like(own.window_T))
    found = thoughts.figures({"x": one}, 50, 0)
    assert (found["over"], found["resampled"], found["documents"]) == ("windows", 12, 1)
    assert found["thinkers"]["x"]["all"]["gain"]["ci95"]
    single = dataclasses.replace(one, window_T=np.zeros_like(own.window_T))
    found = thoughts.figures({"x": single}, 50, 0)
    assert found["thinkers"]["x"]["all"]["gain"]["ci95"] is None
    (warning,) = found["warnings"]
    assert warning.startswith("1 window: too few")
    assert warning in thoughts.as_text(found)


def test_what_is_too_good_or_never_heeded_is_said():
    own = planted()
    good = dataclasses.replace(own, talk_T=own.base_T + 1)
    idle = dataclasses.replace(own, talk_T=own.base_T, mixing_T=np.zeros_like(own.base_T))
    warnings = thoughts.figures({"good": good, "idle": idle, "own": own}, 50, 0)["warnings"]
    assert [each.partition(":")[0] for each in warnings] == ["good", "idle"]
    assert "suspicious" in warnings[0] and "heeds" in warnings[1]


def test_different_tokens_are_refused():
    own, other = planted(), planted(1)
    with pytest.raises(DataError, match="have read different windows"):
        thoughts.figures({"x": own, "y": other}, 50, 0)
    with pytest.raises(DataError, match="no thinker"):
        thoughts.figures({}, 50, 0)


def test_the_table_has_a_row_a_thinker_and_kind():
    own = planted()
    found = thoughts.figures({"one": own, "two": own}, 50, 0)
    text = thoughts.as_text(found)
    rows = [line.split()[:2] for line in text.splitlines()]
    for name in ("one", "two"):
        for group in ("all", "easy", "hard"):
            assert [name, group] in rows
    gain = found["thinkers"]["one"]["hard"]["gain"]
    assert thoughts.nats(gain) in text and f"{gain['value']:+.4f}" in text
