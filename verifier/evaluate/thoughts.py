"""What thoughts gained on held-out text: losses without and with them, by kind of token.

A token's gain is the log-probability that it has with a thought before it, on average over the
thoughts that were drawn, less the one that it has without; a reward is the sum of gains over the
next tokens, as in training (Zelikman et al. 2024, section 4.4). Both are in nats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from verifier.errors import DataError
from verifier.evaluate.intervals import FEWEST, Bootstrap, Estimate
from verifier.evaluate.results_table import counted

ALL = "all"  # of the tokens; a kind has the name that the corpus gives it
UNCHANGED = 0.01  # nats: a token whose chance moves by less than a hundredth of it is as it was
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_LEVELS = 5  # of difficulty, as many tokens in each
_BARS = 41  # of a histogram; gains of 0 are in the middle of one
_LEAST_REACH = 0.5  # nats either way
_MEANS = ("base_nll", "talk_nll", "gain", "reward", "mixing", "entropy")


@dataclasses.dataclass(frozen=True)
class Gains:
    """Tokens of held-out text that were predicted without and with thoughts.

    Attributes:
        document_T: by token, the text that it is of.
        window_T: by token, the window in which that was read.
        kind_T: by token, its kind; "" where the corpus tells none.
        base_T: log-probability without a thought.
        talk_T: with a thought before it, the mean over those that were drawn.
        reward_T: of the thoughts before it, their mean; NaN where a window ends before the last of
            the tokens that they are judged by.
        mixing_T: weight of the thoughts in this prediction.
        entropy_T: -log p of a drawn token of these thoughts, the mean over both; NaN where none is
            drawn.
    """

    document_T: np.ndarray
    window_T: np.ndarray
    kind_T: np.ndarray
    base_T: np.ndarray
    talk_T: np.ndarray
    reward_T: np.ndarray
    mixing_T: np.ndarray
    entropy_T: np.ndarray

    @property
    def gain_T(self) -> np.ndarray:
        return self.talk_T - self.base_T

    def columns(self) -> dict[str, np.ndarray]:
        """What is averaged, by name; NaN where a token has none."""
        losses = {"base_nll": -self.base_T, "talk_nll": -self.talk_T, "gain": self.gain_T}
        rest = {"reward": self.reward_T, "mixing": self.mixing_T, "entropy": self.entropy_T}
        return losses | rest


def figures(thinkers: Mapping[str, Gains], resamples: int, seed: int) -> dict[str, Any]:
    """Figures of every thinker, all of them on the same tokens.

    Args:
        thinkers: by name, the first of them the one that others are held against.
        resamples: of the bootstrap over documents, or over windows where documents are few.
        seed: of the bootstrap.

    Returns:
        "over": what is resampled; "resampled": how many there are of these; "documents" and
        "tokens"; "kinds", tokens by kind; "thinkers", by name and group ("all", and every kind):
        estimates of base_nll, talk_nll, gain, reward, mixing, entropy and shares (None where there
        is none), "over_first", how much lower the talk loss is, paired, and "quantiles" of gains;
        "levels", gains by difficulty; "histogram", tokens by gain; "warnings".

    Raises:
        DataError: no thinker, no token, or thinkers that have read different ones.
    """
    first = _checked(thinkers)
    kinds = sorted(set(first.kind_T.tolist()) - {""})
    groups = {ALL: np.ones(len(first.base_T), bool)}
    groups |= {kind: first.kind_T == kind for kind in kinds}
    documents = len(np.unique(first.document_T))
    over, named_T = ("documents", first.document_T)
    if documents < FEWEST:
        over, named_T = ("windows", first.window_T)
    names, piece_T = np.unique(named_T, return_inverse=True)
    means = _Means(piece_T, Bootstrap.draw(len(names), resamples, seed), len(names) >= FEWEST)
    return {
        "over": over,
        "resampled": len(names),
        "documents": documents,
        "tokens": len(first.base_T),
        "kinds": {kind: int(groups[kind].sum()) for kind in kinds},
        "thinkers": {
            name: {group: _group(own, mask, first, means) for group, mask in groups.items()}
            for name, own in thinkers.items()
        },
        "levels": {name: _levels(own, means) for name, own in thinkers.items()},
        "histogram": _histogram(thinkers),
        "warnings": _warnings(thinkers, over, len(names)),
    }


@dataclasses.dataclass(frozen=True)
class _Means:
    """Means over tokens, whose intervals come from resampled pieces of text."""

    piece_T: np.ndarray
    drawn: Bootstrap
    enough: bool  # pieces, for an interval

    def of(self, value_T: np.ndarray, mask_T: np.ndarray) -> dict[str, Any] | None:
        """The mean of the values that are there; None: there is none."""
        there_T = mask_T & np.isfinite(value_T)
        pieces = len(self.drawn.lot_P)
        part_P = np.bincount(self.piece_T, np.where(there_T, value_T, 0.0), pieces)
        whole_P = np.bincount(self.piece_T, there_T.astype(float), pieces)
        found: Estimate | None = self.drawn.ratio(part_P, whole_P)
        if found is None:
            return None
        return {"value": found["value"], "ci95": found["ci95"] if self.enough else None}


def _checked(thinkers: Mapping[str, Gains]) -> Gains:
    """The first thinker; raises as `figures`."""
    if not thinkers:
        raise DataError("no thinker has read the held-out text; run the stage thoughts")
    (name, first), *others = thinkers.items()
    if not len(first.base_T):
        raise DataError(f"{name} has predicted no token; expected windows of two tokens or more")
    for other, own in others:
        same = np.array_equal(own.window_T, first.window_T)
        if not (same and np.array_equal(own.document_T, first.document_T)):
            raise DataError(
                f"{other} and {name} have read different windows ({len(own.base_T):,} and "
                f"{len(first.base_T):,} tokens), so that nothing can be held against each other; "
                "evaluate both on the same corpus"
            )
    return first


def _group(own: Gains, mask_T: np.ndarray, first: Gains, means: _Means) -> dict[str, Any]:
    """Figures of one thinker on one group of tokens."""
    gain_T = own.gain_T
    made: dict[str, Any] = {name: means.of(own.columns()[name], mask_T) for name in _MEANS}
    made["unchanged"] = means.of((np.abs(gain_T) < UNCHANGED).astype(float), mask_T)
    made["helped"] = means.of((gain_T >= UNCHANGED).astype(float), mask_T)
    made["hurt"] = means.of((gain_T <= -UNCHANGED).astype(float), mask_T)
    over = None if own is first else means.of(own.talk_T - first.talk_T, mask_T)
    values = np.quantile(gain_T[mask_T], QUANTILES)
    quantiles = {f"{q:g}": round(float(v), 10) for q, v in zip(QUANTILES, values, strict=True)}
    return {**made, "over_first": over, "quantiles": quantiles}


def _levels(own: Gains, means: _Means) -> list[dict[str, Any]]:
    """Mean gains from the easiest tokens to the hardest.

    A token is as hard as the mean of its two losses says. By its loss without thoughts alone, those
    that thoughts shift by chance would seem to gain where they are hard and to lose where they are
    easy (Bland and Altman 1995).
    """
    hard_T = -(own.base_T + own.talk_T) / 2
    order_T = np.argsort(hard_T, kind="stable")
    made = []
    for own_T in np.array_split(order_T, min(_LEVELS, len(order_T))):
        mask_T = np.zeros(len(hard_T), bool)
        mask_T[own_T] = True
        loss = {"low": float(hard_T[own_T].min()), "high": float(hard_T[own_T].max())}
        made.append({**loss, "tokens": len(own_T), "gain": means.of(own.gain_T, mask_T)})
    return made


def _histogram(thinkers: Mapping[str, Gains]) -> dict[str, Any]:
    """How many tokens gain how much; the outermost bars hold all that is beyond them."""
    largest = max(float(np.quantile(np.abs(own.gain_T), 0.999)) for own in thinkers.values())
    reach = max(_LEAST_REACH, np.ceil(2 * largest) / 2)
    edges = np.linspace(-reach, reach, _BARS + 1)
    middle = (edges[:-1] + edges[1:]) / 2
    counts = {
        name: np.histogram(np.clip(own.gain_T, middle[0], middle[-1]), edges)[0].tolist()
        for name, own in thinkers.items()
    }
    return {"edges": [round(float(edge), 6) for edge in edges], "counts": counts}


def _warnings(thinkers: Mapping[str, Gains], over: str, pieces: int) -> list[str]:
    made = []
    if pieces < FEWEST:
        made.append(
            f"{counted(pieces, over[:-1])}: too few for intervals and for a conclusion, which "
            f"takes {FEWEST} or more (quiet.report_windows)"
        )
    for name, own in thinkers.items():
        helped = np.mean(own.gain_T >= UNCHANGED)
        if helped == 1:
            made.append(
                f"{name}: thoughts help at every token, which is suspicious: look whether one sees "
                "what it is judged by"
            )
        if np.isfinite(own.reward_T).any() and not own.mixing_T.any():
            made.append(f"{name}: no prediction heeds a thought, so that nothing can gain by one")
    return made


def as_text(figures: Mapping[str, Any]) -> str:
    """The figures as plain text for a terminal, a row a thinker and group."""
    width = max(len(name) for name in (*figures["thinkers"], "thinker"))
    kind = max(len(name) for name in (*figures["kinds"], "tokens"))
    head = f"{'thinker':<{width}}  {'tokens':<{kind}}  {'without':>7}  {'with':>7}  "
    lines = [f"{head}{'gain (nats)':<25}  {'reward (nats)':<25}  unchanged  over the first"]
    for name, groups in figures["thinkers"].items():
        for group, own in groups.items():
            losses = "  ".join(f"{own[key]['value']:>7.4f}" for key in ("base_nll", "talk_nll"))
            row = f"{name:<{width}}  {group:<{kind}}  {losses}  {nats(own['gain']):<25}  "
            row += f"{nats(own['reward']):<25}  {own['unchanged']['value']:>9.1%}  "
            lines.append((row + nats(own["over_first"])).rstrip())
    kinds = ", ".join(f"{count:,} {name}" for name, count in figures["kinds"].items())
    told = counted(figures["tokens"], "token") + (f" ({kinds})" if kinds else "")
    lines.append(f"{told}; losses in nats a token; 95% bootstrap over {figures['over']}")
    lines.append(
        f"unchanged: by less than {UNCHANGED:g} nats; over the first: how far below its loss with "
        "thoughts"
    )
    return "\n".join([*(f"warning: {each}" for each in figures["warnings"]), *lines])


def nats(estimate: Mapping[str, Any] | None) -> str:
    """A signed number of nats with its interval; empty where there is none."""
    if estimate is None:
        return ""
    value = f"{estimate['value']:+.4f}"
    if estimate["ci95"] is None:
        return value
    low, high = estimate["ci95"]
    return f"{value} [{low:+.4f}, {high:+.4f}]"
