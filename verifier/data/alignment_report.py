"""What an alignment has kept of a teacher, and what it has dropped: counts that add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Counts:
    """Of some tokens of a student."""

    tokens: int = 0
    distributions: int = 0  # tokens that have the teacher's distribution; all others are one-hot
    bytes: int = 0
    dropped_bytes: int = 0  # in no span: the two sides do not spell them alike
    kept_mass: float = 0.0  # teacher's probability, over the tokens with a distribution
    # Likewise: of what the teacher has told, but the student has no id for.
    dropped_mass: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Counts(*(one + another for one, another in pairs))

    @property
    def share(self) -> float:
        """Of the tokens, those with a distribution."""
        return self.distributions / max(self.tokens, 1)

    @property
    def one_hot_share(self) -> float:
        """Of the tokens, those without one."""
        return 1 - self.share if self.tokens else 0.0

    @property
    def mean_dropped_mass(self) -> float:
        """Probability that a token with a distribution has lost to the vocabulary, on average."""
        return self.dropped_mass / max(self.distributions, 1)

    @property
    def mean_untold_mass(self) -> float:
        """Probability of ids that the teacher has not told, on average of the same tokens."""
        told = self.kept_mass + self.dropped_mass
        return max(self.distributions - told, 0.0) / max(self.distributions, 1)


@dataclasses.dataclass(frozen=True)
class AlignmentReport:
    """Of some solutions, and of their tokens with a digit apart: those go wrong first."""

    solutions: int = 0
    all: Counts = Counts()
    numbers: Counts = Counts()

    def __add__(self, other: AlignmentReport) -> AlignmentReport:
        return AlignmentReport(
            self.solutions + other.solutions,
            self.all + other.all,
            self.numbers + other.numbers,
        )

    def lines(self) -> list[str]:
        """The report as text, a line for all tokens and one for numbers."""
        said = [f"{self.solutions:,} solutions aligned"]
        for name, counts in (("all tokens", self.all), ("numbers", self.numbers)):
            said.append(
                f"{name}: {counts.tokens:,}, with the teacher's distribution {counts.share:.1%}, "
                f"one-hot {counts.one_hot_share:.1%}; probability lost to the vocabulary "
                f"{counts.mean_dropped_mass:.2%}, never told {counts.mean_untold_mass:.2%}; "
                f"bytes dropped {counts.dropped_bytes:,} of {counts.bytes:,}"
            )
        return said


def total(reports: Iterable[AlignmentReport]) -> AlignmentReport:
    """The report of many solutions together."""
    return sum(reports, AlignmentReport())
