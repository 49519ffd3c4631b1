"""Examples out of a teacher's right solutions, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from verifier.data.examples import Example, LazyExamples, lm_example
from verifier.data.formats import Planned

# Start ids and prompt of an example; tokens of what is written, and of each whether a calculator
# would write it.
Encoded = tuple[list[int], list[int], list[bool]]
# Further targets of the tokens that are written, by key: [T, ...] for T of them.
Targets = Mapping[str, np.ndarray]


class TeacherExamples(LazyExamples):
    """What a student learns from a teacher: in formats as they were planned (`data.formats`).

    position       0   1   2   3   4
    tokens         q   q   s   s   end
    lm_weight      0   1   1   1   0
    targets of         s   s  end        what the teacher thought of a token stands where the
                                         student predicts it, one position before it
    """

    def __init__(
        self,
        plan: Sequence[Planned],
        encoded: Callable[[Planned], Encoded],
        targets: Callable[[Planned, Sequence[int]], Targets],
        loss_on_forced: bool,
    ) -> None:
        """Args:
        plan: the examples.
        encoded: prompt and solution of one, in the student's tokens.
        targets: of one, for its solution's tokens; with no keys, its words alone are learned.
        loss_on_forced: whether tokens that the calculator writes count.
        """
        self._plan, self._encoded, self._targets = plan, encoded, targets
        self._loss_on_forced = loss_on_forced

    def __len__(self) -> int:
        return len(self._plan)

    def _made(self, index: int) -> Example:
        planned = self._plan[index]
        prompt, target, forced = self._encoded(planned)
        made = lm_example(
            prompt,
            target,
            forced,
            loss_on_question=False,
            loss_on_forced=self._loss_on_forced,
            name=f"{planned.format}/{planned.row}",
        )
        return made._replace(
            targets={**made.targets, **_shifted(self._targets(planned, target), len(prompt))}
        )


def _shifted(targets: Targets, first: int) -> dict[str, np.ndarray]:
    """Arrays over a solution's tokens as arrays over the whole text's positions: what is known of a
    token stands at the position before it; the prompt and the end have 0.
    """
    return {
        key: np.concatenate(
            [
                np.zeros((first - 1, *array.shape[1:]), array.dtype),
                array,
                np.zeros((1, *array.shape[1:]), array.dtype),
            ]
        )
        for key, array in targets.items()
    }
