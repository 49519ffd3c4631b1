"""A place in the tree of a problem's solutions from which some of them go on together.

Samples that have the same tokens so far are one row of a running batch. Where they draw different
tokens the row goes on with one of them, and the others are branches, which take a row when one is
free:

    row 3   a b c d e f      samples 0, 4, 7 draw f; 2 and 5 draw g; 1 draws h
    branch  a b c d e | g    2, 5     what is before | lies in row 3's pages: the full ones are held
    branch  a b c d e | h    1        together, of the newest one a copy is taken

A fork at the last token and one further back (a rewind) are the same thing: `Rows.fork`.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from verifier.decode.likeliest import NOWHERE, Likeliest

ForcedTokens = list[tuple[int, bool]]  # tokens to be written, and whether the calculator's


@dataclasses.dataclass(eq=False)
class Branch:
    """Samples of a problem that have the same tokens, and what they are to write next.

    Pages and rows are those of one group of devices.
    """

    problem: int  # index in the list of problems
    samples: list[int]
    tokens: np.ndarray  # int32 [T], what they have in common
    # float32 [T], or [T + 1] where the model drew the first token of the queue; so `likeliest`
    logprobs: np.ndarray
    forced: np.ndarray  # bool [T]
    errors: int = 0  # of the calculator, so far
    queue: ForcedTokens = dataclasses.field(default_factory=list)
    limit: int | None = None  # tokens at which it is over; None: those of the job
    to_step_end: bool = False  # whether it is over where a step ends
    # full pages with the first tokens, and how many tokens there are up to the end of each
    pages: list[int] = dataclasses.field(default_factory=list)
    upto: list[int] = dataclasses.field(default_factory=list)
    # the row whose newest page has the others, while that has the same stamp (`Rows.stamp_B`)
    newest: tuple[int, int] | None = None
    likeliest: Likeliest = NOWHERE  # what the model held likely

    @property
    def read_from(self) -> int:
        """How many of the tokens need not be read again if all of them lie in pages.

        The last one is read once more where nobody knows what comes behind it, or how likely it is:
        both follow from the hidden state.
        """
        first_is_known = len(self.logprobs) > len(self.tokens)
        return max(len(self.tokens) - (not first_is_known), 0)

    def drawn(self, logprob: float, likeliest: Likeliest = NOWHERE) -> None:
        """The model drew the first token of the queue, so likely, from such a distribution."""
        self.logprobs = np.append(self.logprobs, np.float32(logprob))
        if likeliest.count:
            self.likeliest = self.likeliest.then(likeliest)

    def inherit(self, page: int, upto: int) -> None:
        """What the newest page of the row before it had lies in a full page now."""
        self.pages.append(page)
        self.upto.append(upto)
        self.newest = None

    def twin(self) -> Branch:
        """The same place once more."""
        return dataclasses.replace(self, pages=list(self.pages), upto=list(self.upto))


def root(problem: int, samples: list[int]) -> Branch:
    """Samples that have written nothing yet."""
    none = np.zeros(0, np.int32)
    return Branch(problem, samples, none, none.astype(np.float32), none.astype(bool))


def heirs_of(
    branches: Sequence[Branch], ends: Mapping[tuple[int, int], int]
) -> dict[int, list[Branch]]:
    """By row, the branches that go on from its end.

    Args:
        branches: all that there are.
        ends: tokens of rows that are over, by row and stamp (`Rows.stamp_B`).
    """
    heirs: dict[int, list[Branch]] = collections.defaultdict(list)
    for branch in branches:
        if branch.newest is not None and ends.get(branch.newest) == len(branch.tokens):
            heirs[branch.newest[0]].append(branch)
    return heirs
