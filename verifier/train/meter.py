"""The numbers of a job's steps: read from the device one step late, checked, logged."""

from __future__ import annotations

import collections
import math
import time
from typing import Any

import jax

from verifier.errors import Diverged
from verifier.system import log
from verifier.system.metric_log import MetricLog
from verifier.train.checkpoint import Checkpoints
from verifier.train.losses.contract import Terms


class Meter:
    """Reads a step's numbers only when the next step is under way: the device never waits.

    A number that is not finite stops the job.
    """

    def __init__(
        self, metrics: MetricLog, progress: log.Progress, checkpoints: Checkpoints
    ) -> None:
        self.metrics, self.progress, self.checkpoints = metrics, progress, checkpoints
        self._pending: collections.deque[tuple[int, dict[str, Any], int]] = collections.deque()
        # (time a step was read, its tokens)
        self._recent: collections.deque[tuple[float, int]] = collections.deque(maxlen=50)

    def push(self, done: int, numbers: dict[str, Any], tokens: int) -> None:
        """Takes the numbers of a step just sent to the device; reads those of the one before.

        Raises:
            Diverged: a number of that one is not finite.
        """
        self._pending.append((done, numbers, tokens))
        self.drain(left=1)

    def drain(self, left: int = 0) -> None:
        """Reads until only `left` steps are unread; raises as `push`."""
        while len(self._pending) > left:
            done, on_device, tokens = self._pending.popleft()
            numbers = jax.device_get(on_device)
            terms = numbers.pop("terms")
            line = {name: float(value) for name, value in numbers.items()} | means(terms)
            self._stop_unless_finite(done, line)
            self._recent.append((time.monotonic(), tokens))
            line["tokens_per_second"] = rate = self._rate()
            self.metrics.write(done, line)
            self.progress.advance(loss=line["loss"], tokens_per_second=rate)

    def _rate(self) -> float:
        """Real tokens a second over the last steps.

        The first step of a run compiles and does not count.
        """
        seconds = self._recent[-1][0] - self._recent[0][0]
        return sum(tokens for _, tokens in list(self._recent)[1:]) / seconds if seconds else 0.0

    def _stop_unless_finite(self, done: int, line: dict[str, float]) -> None:
        """Raises for a step that has broken the parameters."""
        broken = [
            name
            for name in ("loss", "gradient_norm", "update_norm")
            if not math.isfinite(line[name])
        ]
        if not broken:
            return
        latest = self.checkpoints.latest()
        kept = (
            "no checkpoint had been saved"
            if latest is None
            else f"the last good checkpoint is {self.checkpoints.path(latest)}"
        )
        raise Diverged(
            f"step {done}: {' and '.join(broken)} not finite; {kept}. Try a lower "
            "learning_rate, a longer warmup_share, clip_norm of 1 or less, or "
            "model.dtype=float32"
        )


def means(terms: Terms) -> dict[str, float]:
    """Host numbers of terms: each mean, where anything has a weight."""
    return {name: float(term.sum / term.weight) for name, term in terms.items() if term.weight > 0}
