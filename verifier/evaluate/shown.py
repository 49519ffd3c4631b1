"""Which problems a report shows, and their solutions cut into coloured pieces. Knows no HTML.

A token's colour is the verifier's value after reading it. Where the text of tokens is not known, a solution is one piece in the colour of
its score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verifier.evaluate import rank
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.tables import SplitRows

TokenTexts = Callable[[list[int]], list[str]]  # ids of a solution's tokens to the text that each adds
SHADES = 10  # 0: surely wrong ... SHADES: surely right; the middle one has no colour


@dataclasses.dataclass(frozen=True)
class Piece:
    """A bit of a solution: its text, the value after it (None: unknown), whether the calculator wrote it, and the shade of the value."""

    text: str
    value: float | None
    forced: bool
    shade: int


@dataclasses.dataclass(frozen=True)
class ShownSolution:
    """One solution with what it was picked for."""

    roles: tuple[str, ...]
    sample_id: int
    answer: str | None
    correct: bool
    score: float | None
    pieces: tuple[Piece, ...]
    by_token: bool


@dataclasses.dataclass(frozen=True)
class ShownProblem:
    """One problem with why it is shown, how its samples did and two or three of them."""

    problem_id: str
    kind: str
    question: str
    gold: str
    samples: int
    right: int
    solutions: tuple[ShownSolution, ...]


def pick(split: SplitRows, count: int, seed: int, token_texts: TokenTexts | None) -> list[ShownProblem]:
    """A mixed hand of problems: by kind in turn, at random within a kind.

    Args:
        split: rows of one split.
        count: problems to show at most.
        seed: of the choice.
        token_texts: text of tokens by id; None colours whole solutions.
    """
    chosen = _mixed(split.candidates, count, np.random.default_rng(seed))
    return [_problem(split, place, kind, token_texts) for place, kind in chosen]


def _mixed(candidates: Candidates, count: int, rng: np.random.Generator) -> list[tuple[int, str]]:
    majority_P = rank.majority(candidates).correct_P
    solvable_P = candidates.correct_PJ.any(axis=1)
    if candidates.score_PJ is None:
        kinds = {
            "the majority is right": majority_P,
            "the majority is wrong, some are right": solvable_P & ~majority_P,
        }
    else:
        best_P = rank.best_of_n(candidates).correct_P
        kinds = {
            "the verifier is right, the majority is wrong": best_P & ~majority_P,
            "the verifier is wrong, some are right": solvable_P & ~best_P,
        }
    kinds |= {"no sample is right": ~solvable_P, "taken at random": np.ones(len(majority_P), bool)}
    hands = {kind: rng.permutation(np.nonzero(mask_P)[0]).tolist() for kind, mask_P in kinds.items()}
    chosen: dict[int, str] = {}
    while len(chosen) < min(count, len(majority_P)):
        for kind, hand in hands.items():
            while hand and hand[0] in chosen:
                hand.pop(0)
            if hand and len(chosen) < count:
                chosen[hand.pop(0)] = kind
    order = list(hands)
    return sorted(chosen.items(), key=lambda one: order.index(one[1]))


def _problem(split: SplitRows, place: int, kind: str, token_texts: TokenTexts | None) -> ShownProblem:
    candidates = split.candidates
    count = int(candidates.count_P[place])
    elected = int(rank.majority(candidates).column_P[place])
    roles: dict[int, list[str]] = {}
    if candidates.score_PJ is not None:
        roles.setdefault(0, []).append("highest score")
    if elected >= 0:
        roles.setdefault(elected, []).append("the majority's answer")
    if candidates.score_PJ is not None and count > 1:
        roles.setdefault(count - 1, []).append("lowest score")
    verdicts = candidates.correct_PJ[place, :count]
    if verdicts.any() and not any(verdicts[column] for column in roles):
        roles.setdefault(int(np.argmax(verdicts)), []).append("best-ranked right one")
    elif not roles or (candidates.score_PJ is None and len(roles) == 1 and count > 1):
        other = next((column for column in range(count) if column not in roles), 0)
        roles.setdefault(other, []).append("another sample")
    name = str(candidates.problem_id_P[place])
    return ShownProblem(
        problem_id=name,
        kind=kind,
        question=split.question.get(name, "(the question's text is not known)"),
        gold=split.gold[name],
        samples=count,
        right=int(verdicts.sum()),
        solutions=tuple(_solution(split, place, column, tuple(names), token_texts) for column, names in roles.items()),
    )


def _solution(split: SplitRows, place: int, column: int, roles: tuple[str, ...], token_texts: TokenTexts | None) -> ShownSolution:
    candidates = split.candidates
    row = int(candidates.row_PJ[place, column])
    score = None if candidates.score_PJ is None else float(candidates.score_PJ[place, column])
    cells = {name: cell[0] for name, cell in split.cells(np.array([row]), ["solution", "tokens", "forced", "token_scores"]).items()}
    pieces = _token_pieces(cells, token_texts)
    whole = (Piece(cells["solution"], score, False, _shade(score)),)
    return ShownSolution(
        roles=roles,
        sample_id=int(candidates.sample_id_PJ[place, column]),
        answer=split.answer[row].as_py(),
        correct=bool(candidates.correct_PJ[place, column]),
        score=score,
        pieces=pieces or whole,
        by_token=bool(pieces),
    )


def _token_pieces(cells: dict[str, Any], token_texts: TokenTexts | None) -> tuple[Piece, ...]:
    """One piece a token; none where tokens, their values or their text are not known."""
    tokens, values = cells.get("tokens"), cells.get("token_scores")
    if token_texts is None or not tokens or not values or len(tokens) != len(values):
        return ()
    texts: Sequence[str] = token_texts(list(tokens))
    forced = cells.get("forced") or [False] * len(tokens)
    return tuple(Piece(text, value, wrote, _shade(value)) for text, value, wrote in zip(texts, values, forced, strict=True))


def _shade(value: float | None) -> int:
    return SHADES // 2 if value is None else int(round(min(max(value, 0.0), 1.0) * SHADES))
