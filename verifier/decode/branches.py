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

import dataclasses

import numpy as np

Queue = list[tuple[int, bool]]  # tokens to be written, and whether the calculator's


@dataclasses.dataclass(eq=False)
class Branch:
    """Samples of a problem that have the same tokens, and what they are to write next.

    Pages and rows are those of one group of devices.
    """

    problem: int  # index in the list of problems
    samples: list[int]
    tokens: np.ndarray  # int32 [T], what they have in common; so the two below
    logprobs: np.ndarray  # float32
    forced: np.ndarray  # bool
    errors: int = 0  # of the calculator, so far
    queue: Queue = dataclasses.field(default_factory=list)
    logprob: float | None = None  # of the queue's first token, where the model drew it
    # full pages with the first tokens, and how many tokens there are up to the end of each
    pages: list[int] = dataclasses.field(default_factory=list)
    upto: list[int] = dataclasses.field(default_factory=list)
    # the row whose newest page has the others, while that has the same stamp (`Rows.stamp_B`)
    newest: tuple[int, int] | None = None

    @property
    def read_from(self) -> int:
        """How many of the tokens need not be read again if all of them lie in pages.

        The last one is read once more where nobody knows what comes behind it, or how likely it is:
        both follow from the hidden state.
        """
        return max(len(self.tokens) - (self.logprob is None), 0)


def root(problem: int, samples: list[int]) -> Branch:
    """Samples that have written nothing yet."""
    none = np.zeros(0, np.int32)
    return Branch(problem, samples, none, none.astype(np.float32), none.astype(bool))
