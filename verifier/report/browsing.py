"""A page's list of problems: how each went, and as many of its solutions as there is room for.

The page's script draws what is here. A token's value is the verifier's after reading it. Where the
text of tokens is not known, a solution is one piece.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from verifier.evaluate import rank
from verifier.evaluate.candidates import Candidates
from verifier.tables.split_rows import SplitRows

# Tokens of a solution and its text: the text that each adds; None: not known.
TokenTexts = Callable[[list[int], str], list[str] | None]
ROOM = 3_900_000  # bytes of JSON: with its charts and figures a page then stays below 5 MB
_LISTED = 10_000  # problems at most that are in the list: some MB of a page, which a browser holds
_DECODED = 600_000  # rows of tables that are decoded again at most, to show some of them
_HIGHEST = "highest score"
_MAJORITY = "the majority's answer"
_RIGHT = "best-ranked right one"
_LOWEST = "lowest score"
_OTHER = "another sample"


def browsed(
    split: SplitRows, most: int, seed: int, token_texts: TokenTexts | None, room: int = ROOM
) -> dict[str, Any]:
    """The list of a split's problems, as JSON-able data for the page's script.

    Args:
        split: rows of one split.
        most: problems at most that have solutions to open.
        seed: of the choice of problems, where not all have room.
        token_texts: text of tokens; None: not known.
        room: bytes of JSON at most for the list and its solutions, which may have a quarter of it
            in any case.

    Returns:
        `scored`; `problems`, in order of their ids, 10,000 at random where there are more: `id`,
        `question` (None: not known), `gold`, `samples`, `right`, `majority` and `best` (whether
        each is right; None: nobody voted, nothing scored), `apart` (they give different answers),
        `score` (the highest), `solutions`: `roles`, `sample`, `answer`, `right`, `score`, `text`,
        and where tokens are known `lengths` of their texts, `values` in hundredths and `forced`,
        the indices of those that the calculator wrote.
    """
    candidates = split.candidates
    majority = rank.majority(candidates)
    order_P = np.random.default_rng(seed).permutation(len(candidates.problem_id_P))
    problems = _problems(split, sorted(order_P[:_LISTED].tolist()), majority)
    chosen = _affordable(split, order_P[: min(most, _LISTED)])
    wanted = {index: _columns(candidates, index, int(majority.column_P[index])) for index in chosen}
    solutions = _solutions(split, wanted, token_texts)
    left = max(
        room - len(json.dumps(list(problems.values()), ensure_ascii=False).encode()), room // 4
    )
    # Every problem's first, then every problem's second, ...
    for turn in range(max(map(len, wanted.values()), default=0)):
        for index in chosen:
            solution = solutions.get((index, turn))
            size = _size(solution) if solution else 0
            if solution and size <= left:
                problems[index]["solutions"].append(solution)
                left -= size
    return {"scored": candidates.score_C is not None, "problems": list(problems.values())}


def _problems(
    split: SplitRows, indices: Sequence[int], majority: rank.Choice
) -> dict[int, dict[str, Any]]:
    """How some problems went, by index, without their solutions."""
    candidates, best = split.candidates, rank.best_of_n(split.candidates)
    scored = candidates.score_C is not None
    start_P = candidates.start_P
    right_P = candidates.right_P
    names = {index: str(candidates.problem_id_P[index]) for index in indices}
    return {
        index: {
            "id": name,
            "question": split.question.get(name),
            "gold": split.gold[name],
            "samples": int(candidates.count_P[index]),
            "right": int(right_P[index]),
            "majority": bool(majority.correct_P[index]) if majority.column_P[index] >= 0 else None,
            "best": bool(best.correct_P[index]) if scored else None,
            "apart": bool(scored and majority.answer_P[index] != best.answer_P[index]),
            "score": round(float(candidates.score_C[start_P[index]]), 4)
            if candidates.score_C is not None
            else None,
            "solutions": [],
        }
        for index, name in names.items()
    }


def _size(solution: dict[str, Any]) -> int:
    """Bytes of a solution's JSON at most, without making it."""
    text = solution["text"]
    escaped = text.count("\n") + text.count('"') + text.count("\\") + 5 * text.count("<")
    return (
        300
        + len(text.encode())
        + escaped
        + sum(
            len(str(solution[name])) for name in ("lengths", "values", "forced") if name in solution
        )
    )


def _affordable(split: SplitRows, indices: np.ndarray) -> list[int]:
    """The first of some problems, as many as can be read again at a bounded cost."""
    row_C = split.candidates.row_C
    start_P = split.candidates.start_P
    count_P = split.candidates.count_P
    group_R, cost_G = split.row_groups()
    seen: set[int] = set()
    kept: list[int] = []
    cost = 0
    for index in indices.tolist():
        own_C = row_C[start_P[index] : start_P[index] + count_P[index]]
        new = set(np.unique(group_R[own_C]).tolist()) - seen
        cost += sum(int(cost_G[group]) for group in new)
        if kept and cost > _DECODED:
            break
        seen |= new
        kept.append(index)
    return kept


def _columns(candidates: Candidates, index: int, elected: int) -> dict[int, list[str]]:
    """The samples of a problem that are worth a look, by column, and what each is."""
    start, count = int(candidates.start_P[index]), int(candidates.count_P[index])
    roles: dict[int, list[str]] = {}
    if candidates.score_C is not None:
        roles.setdefault(0, []).append(_HIGHEST)
    if elected >= 0:
        roles.setdefault(elected, []).append(_MAJORITY)
    verdicts = candidates.correct_C[start : start + count]
    if verdicts.any() and not any(verdicts[column] for column in roles):
        roles.setdefault(int(np.argmax(verdicts)), []).append(_RIGHT)
    if candidates.score_C is not None and count > 1:
        roles.setdefault(count - 1, []).append(_LOWEST)
    if not roles or (candidates.score_C is None and len(roles) == 1 and count > 1):
        roles.setdefault(
            next((column for column in range(count) if column not in roles), 0), []
        ).append(_OTHER)
    return roles


def _solutions(
    split: SplitRows, wanted: dict[int, dict[int, list[str]]], token_texts: TokenTexts | None
) -> dict[tuple[int, int], dict[str, Any]]:
    """The wanted solutions by problem and turn, read all at once."""
    candidates, start_P = split.candidates, split.candidates.start_P
    keys = [
        (index, turn, column, roles)
        for index, columns in wanted.items()
        for turn, (column, roles) in enumerate(columns.items())
    ]
    at = np.array([start_P[index] + column for index, _, column, _ in keys], np.int64)
    rows = candidates.row_C[at]
    names = ["solution", *(["tokens", "forced", "token_scores"] if token_texts else [])]
    cells = split.cells(rows, names)
    out = {}
    for number, (index, turn, _, roles) in enumerate(keys):
        row = int(rows[number])
        score = (
            None if candidates.score_C is None else round(float(candidates.score_C[at[number]]), 4)
        )
        made = {
            "roles": roles,
            "sample": int(candidates.sample_id_C[at[number]]),
            "answer": split.answer[row].as_py(),
            "right": bool(candidates.correct_C[at[number]]),
            "score": score,
            "text": cells["solution"][number],
        }
        own = {name: column[number] for name, column in cells.items()}
        out[index, turn] = made | _token_parts(own, token_texts)
    return out


def _token_parts(cells: dict[str, Any], token_texts: TokenTexts | None) -> dict[str, Any]:
    """Lengths, values and forced indices of a solution's tokens; nothing where one is not known."""
    tokens, values = cells.get("tokens"), cells.get("token_scores")
    if token_texts is None or not tokens or not values or len(tokens) != len(values):
        return {}
    texts: Sequence[str] | None = token_texts(list(tokens), cells["solution"])
    if texts is None:
        return {}
    forced = cells.get("forced") or []
    return {
        "lengths": [len(text) for text in texts],
        "values": np.rint(np.array(values, np.float64) * 100).astype(np.int64).tolist(),
        "forced": [index for index, wrote in enumerate(forced) if wrote],
    }
