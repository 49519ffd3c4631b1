"""A split of a run's problems, as a value: what it is of, and how it is drawn from."""

from __future__ import annotations

import dataclasses

_GREEDY = "_greedy"


@dataclasses.dataclass(frozen=True)
class Split:
    """Problems that serve one purpose, and whether their solutions are the most likely ones.

    Attributes:
        of: "train", "heldout" or "test"; tables that were made elsewhere may have other names.
        set: the further set that it is, such as "svamp", of "test" or of "train"; empty: the run's
            own problems.
        greedy: one solution a problem, at temperature 0.
    """

    of: str
    set: str = ""
    greedy: bool = False

    def __str__(self) -> str:
        """The name that folders, columns and metrics.json have for it."""
        return self.of + (f"_{self.set}" if self.set else "") + _GREEDY * self.greedy

    @property
    def problems(self) -> Split:
        """The split whose problems these solutions are of."""
        return dataclasses.replace(self, greedy=False)

    @property
    def unlabelled(self) -> bool:
        """Whether it is of problems to learn from whose answers nobody knows."""
        return self.of == "train" and bool(self.set)

    @classmethod
    def named(cls, name: str) -> Split:
        """What a name on disk, or in the files of others, stands for: `str` undone.

        A name that is none of ours stays whole, so that `str` gives it back.
        """
        plain = name.removesuffix(_GREEDY)
        greedy = bool(plain) and plain != name
        plain = plain if greedy else name
        of, _, further = plain.partition("_")
        has_set = of in ("train", "test") and further
        return cls(of, further, greedy) if has_set else cls(plain, "", greedy)


TRAIN, HELDOUT, TEST = Split("train"), Split("heldout"), Split("test")
OWN = (TRAIN, HELDOUT, TEST)  # every run has these; further sets are for who asks for them
