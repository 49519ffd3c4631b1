"""The stage `verify` of this project as a contender: launched in a checkout as a user launches it,
watched by its log, killed when enough steps were seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import launches
from benchmarks.worker import peak_bytes, serve

POLLED = 0.01  # seconds between two looks at the log


class Contender:
    """A launch under way; it goes on between two calls."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        """`stack`: ends the launch when it is closed."""
        self._stack = stack
        self._process: Any = None
        self._work = pathlib.Path()
        self._command: list[str] = []
        self._root = pathlib.Path()

    def load(
        self,
        workdir: str,
        experiment: str,
        settings: Sequence[str],
        dtype: str,
        root: str,
        work: str,
    ) -> dict[str, Any]:
        """Makes a workdir that lacks the stage alone; nothing is started yet.

        Args:
            workdir: of a run whose samples are labelled.
            experiment: that made it.
            settings: assignments to knobs, those of the run and those of the stage.
            dtype: of the model.
            root: of the checkout.
            work: the folder that takes the new workdir.
        """
        run = launches.Run(workdir, experiment, settings)
        self._work = pathlib.Path(tempfile.mkdtemp(dir=work))
        run.linked(self._work, ["generator", "tables"], dtype)
        command = run.command(self._work, "verify", f"model.dtype={dtype}")
        self._command, self._root = command, pathlib.Path(root)
        return {"seconds": 0.0}

    def verify(self, steps: int) -> dict[str, Any]:
        """Seconds of the next steps of the job, counted from one step's end to another's."""
        if self._process is None:
            self._process = self._stack.enter_context(
                launches.started(self._command, self._root, os.environ, self._said)
            )
        losses = self._losses()
        first = len(self._after(len(losses)))
        begun = time.monotonic()
        losses = self._after(first + steps - 1)
        return {
            "seconds": time.monotonic() - begun,
            "losses": losses[first : first + steps],
            "steps": steps,
            "steps_in_all": steps_in_all(self._said.read_text(errors="replace")),
            "memory": {"peak": peak_bytes(str(self._process.pid)), "device_peak_of_process": None},
        }

    @property
    def _said(self) -> pathlib.Path:
        return self._work / "said.txt"

    def _after(self, steps: int) -> list[float]:
        """The losses of all steps as soon as there are more than so many."""
        while len(losses := self._losses()) <= steps:
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"verify ended after {len(losses)} steps: {launches.last_words(self._said)}"
                )
            time.sleep(POLLED)
        return losses

    def _losses(self) -> list[float]:
        """Those of all steps so far, of whole lines of the log."""
        path = self._work / "logs" / "verify.jsonl"
        text = path.read_text() if path.is_file() else ""
        lines = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
        return [line["loss"] for line in lines if "loss" in line]


def steps_in_all(said: str) -> int:
    """The steps of the whole job, by what the stage has said before the first one."""
    found = re.search(r"verify: .* ([\d,]+) steps;", said)
    assert found, "verify has not said how many steps it takes"
    return int(found[1].replace(",", ""))


def main() -> None:
    """Serves until the driver hangs up."""
    with contextlib.ExitStack() as stack:
        own = Contender(stack)
        serve({"load": own.load, "verify": own.verify}, ("jax", "jaxlib", "flax"), lambda: None)


if __name__ == "__main__":
    main()
