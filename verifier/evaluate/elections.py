"""Who is elected when votes are cast group after group, in many elections at once: by a table of all answers, or by sorting the votes.

E elections, G groups of voters, N votes in all. Slots stand for the answers of an election: 0 casts no vote, 1 is shared by all answers
that have but one voter, from 2 on each is an answer's own. Both ways give the same; a table is quicker where it is small, sorting needs
room for the votes alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Votes(NamedTuple):
    """Votes, election after election and in each by rank: election, group, slot and column (rank) of each, and its weight (None: one)."""

    election_N: np.ndarray
    group_N: np.ndarray
    slot_N: np.ndarray
    column_N: np.ndarray
    weight_N: np.ndarray | None


def counted(votes: Votes, shape: tuple[int, int, int], nobody: int) -> np.ndarray:
    """The elected after each group: the best-ranked column of the answer with the most votes, of equals of the best-ranked.

    Args:
        votes: those of a group from G on are not cast.
        shape: how many elections, groups and slots there are; with weights, one group.
        nobody: stands for a column where nobody voted; more than all columns.

    Returns:
        [E, G] columns.
    """
    elections, groups, slots = shape
    table = (elections, groups + 1, slots)
    place = (votes.election_N * (groups + 1) + votes.group_N) * slots + votes.slot_N
    cast = np.bincount(place, votes.weight_N, minlength=math.prod(table)).reshape(table)[:, :groups, 2:]
    first = np.full(math.prod(table), nobody, np.int32)
    first[place[::-1]] = votes.column_N[::-1]  # the last that is written stays: the best-ranked
    first = first.reshape(table)[:, :groups, 1:]
    if groups > 1:
        cast, first = cast.cumsum(axis=1), np.minimum.accumulate(first, axis=1)
    own = first[..., 1:]
    if votes.weight_N is None:  # the most votes, of equals the best-ranked
        winner = (cast * (nobody + 1) - own).argmax(axis=2, keepdims=True)
        several = np.take_along_axis(cast, winner, axis=2)[..., 0] > 1
        return np.where(several, np.take_along_axis(own, winner, axis=2)[..., 0], first.min(axis=2))
    known = np.where(own < nobody, cast, -np.inf)
    return np.where(known == known.max(axis=2, keepdims=True), own, nobody).min(axis=2)


def by_sorting(votes: Votes, shape: tuple[int, int, int], nobody: int) -> np.ndarray:
    """As `counted`, in memory that grows with the votes and not with the slots."""
    elections, groups, slots = shape
    there = np.nonzero((votes.group_N < groups) & (votes.slot_N > 0))[0]
    pair = votes.election_N[there] * slots + votes.slot_N[there]  # of an election and an answer
    if votes.weight_N is not None:
        return _heaviest(pair, votes.column_N[there], votes.weight_N[there], shape, nobody)
    first = np.full((elections, groups), nobody, np.int64)
    np.minimum.at(first, (votes.election_N[there], votes.group_N[there]), votes.column_N[there])
    cell = np.sort((pair * groups + votes.group_N[there]) * nobody + votes.column_N[there])
    cell, column = np.divmod(cell, nobody)
    pair, group = np.divmod(cell, groups)
    opens = np.diff(pair, prepend=-1) != 0
    place = np.arange(len(pair))
    cast = place - np.maximum.accumulate(np.where(opens, place, 0)) + 1  # votes of this answer up to here
    apart = np.cumsum(opens) * nobody  # so that an answer's columns are less than all of those before it
    own = np.minimum.accumulate(column - apart) + apart
    several = (cast > 1) & (pair % slots > 1)
    merit = np.zeros((elections, groups), np.int64)  # grows with votes and falls with the rank: what an answer has, it keeps
    np.maximum.at(merit, (pair[several] // slots, group[several]), cast[several] * nobody - own[several])
    first, merit = np.minimum.accumulate(first, axis=1), np.maximum.accumulate(merit, axis=1)
    return np.where(merit > 0, -merit % nobody, first)


def _heaviest(pair: np.ndarray, column: np.ndarray, weight: np.ndarray, shape: tuple[int, int, int], nobody: int) -> np.ndarray:
    """[E, 1] of each election the answer with the largest sum of weights, which are added up in order of rank."""
    elections, _, slots = shape
    out = np.full(elections, nobody)
    pairs, opens, answer = np.unique(pair, return_index=True, return_inverse=True)
    if len(pairs):
        total, first, election = np.bincount(answer, weight), column[opens], pairs // slots
        start = np.nonzero(np.diff(election, prepend=-1))[0]
        most = np.repeat(np.maximum.reduceat(total, start), np.diff(start, append=len(pairs)))
        np.minimum.at(out, election[total == most], first[total == most])
    return out[:, None]
