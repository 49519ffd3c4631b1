"""How solutions lie in the rows that the verifier reads: which together, and in which calls."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from verifier.data.packing import doubled_room, pack_lengths, rooms
from verifier.model.arch import Arch

SHORTEST = 32  # tokens that a row or prompt is padded to at least
LOOKED_AT = 32  # problems of a group whose solutions decide how long rows are


@dataclasses.dataclass(frozen=True)
class Solutions:
    """What is scored of one problem."""

    problem_id: str
    prompt: Sequence[int]  # start tokens included
    sample_ids: Sequence[int]
    tokens: Sequence[Sequence[int]]  # of each sample; the end token included, where it came


class Row(NamedTuple):
    """One packed row of solutions of one problem."""

    problem: int  # index in its group
    samples: list[int]  # indices in the problem's solutions, from left to right


class Layout(NamedTuple):
    """How a group of problems is read: calls of rows behind one or two blocks of prompts."""

    prompt_tokens: int  # that each prompt is padded to
    row_tokens: int  # that each row is padded to
    at_once: int  # rows of a call
    block: int  # prompts read at once
    blocks: int  # that lie on the device
    rows_P: list[list[Row]]  # by problem


def groups(problems: Sequence[Solutions], rows: int) -> Iterator[list[Solutions]]:
    """Problems whose prompts are padded alike, longest first.

    Problems that are too few for a compilation of their own are padded to the longer ones.
    """
    group: list[Solutions] = []
    for problem in sorted(problems, key=lambda p: (-len(p.prompt), p.problem_id)):
        if len(group) >= rows and prompt_room(problem.prompt) != prompt_room(group[0].prompt):
            yield group
            group = []
        group.append(problem)
    if group:
        yield group


def layout_of(group: Sequence[Solutions], most: int, arch: Arch, devices: int) -> Layout:
    """How a group is read in as little work as rows of one length allow.

    Args:
        group: of `groups`.
        most: rows of a call.
        arch: of the backbone.
        devices: groups of them, which take the same number of rows each.

    Returns:
        the row length that makes the first problems of the group cheapest, and the number of rows
        that leaves the last call fullest.
    """
    prompt_tokens = min(prompt_room(group[0].prompt), arch.context)
    longest = max(len(tokens) for problem in group for tokens in problem.tokens)
    lengths = [
        room
        for room in itertools.takewhile(lambda room: room < 8 * longest + 64, rooms(SHORTEST))
        if room >= longest
    ]

    def cost(row_tokens: int) -> float:
        # Attention's products count twice, for its exponentials take as long.
        rows = sum(
            len(packed(n, problem, row_tokens)) for n, problem in enumerate(group[:LOOKED_AT])
        )
        return rows * row_tokens * (6 * arch.width + 2 * (prompt_tokens + row_tokens))

    row_tokens = min(lengths, key=cost)
    rows_P = [packed(n, problem, row_tokens) for n, problem in enumerate(group)]
    total = sum(map(len, rows_P))
    most = -(-min(most, total) // devices) * devices
    fullest = min(range(most, most // 2, -devices), key=lambda rows: -(-total // rows) * rows)
    block = min(fullest, len(group))
    return Layout(
        prompt_tokens, row_tokens, fullest, block, 1 if block == len(group) else 2, rows_P
    )


def packed(number: int, problem: Solutions, row_tokens: int) -> list[Row]:
    """A problem's solutions in rows: the longest first, each into the first row that has room."""
    order = sorted(range(len(problem.tokens)), key=lambda j: -len(problem.tokens[j]))
    rows = pack_lengths([len(problem.tokens[j]) for j in order], row_tokens)
    return [Row(number, [order[index] for index in row]) for row in rows]


def padded(lists: Sequence[Sequence[int]], rows: int, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens [rows, room] padded on the right, and lengths; missing rows count as one token."""
    tokens_BT = np.zeros((rows, room), np.int32)
    length_B = np.ones(rows, np.int32)
    for row, tokens in enumerate(lists):
        length_B[row] = len(tokens)
        tokens_BT[row, : len(tokens)] = tokens
    return tokens_BT, length_B


def prompt_room(prompt: Sequence[int]) -> int:
    """What a prompt is padded to."""
    return doubled_room(SHORTEST, len(prompt))
