"""A job's numbers mirrored to Weights & Biases, where that is asked for.

Everything else is the package's: `WANDB_MODE=offline` keeps the numbers in `logs/wandb` for a later
`wandb sync`, `WANDB_ENTITY` names the team, and so on (https://docs.wandb.ai, environment
variables).
"""

from __future__ import annotations

import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

from verifier.errors import UserError
from verifier.system import atomic, paths


def check() -> Any:
    """The package `wandb`.

    Raises:
        UserError: it is not installed.
    """
    try:
        import wandb  # in the function: an optional extra, and slow to import
    except ImportError as error:
        way_out = "pip install wandb, or leave log.wandb empty"
        raise UserError(
            f"log.wandb is set, but the package wandb cannot be imported ({error}): {way_out}"
        ) from error
    return wandb


class Mirror:
    """One job as one run of Weights & Biases, grouped with the other jobs of its workdir."""

    def __init__(self, project: str, folder: pathlib.Path, name: str, first_step: int) -> None:
        """Starts the run, or goes on with the one that a killed job began.

        Args:
            project: of Weights & Biases.
            folder: the logs folder of a workdir.
            name: of the job, such as "finetune".
            first_step: that will be written; above 1 the job goes on. What the killed run wrote
                from there on is written again.

        Raises:
            UserError: the package is missing, or it cannot start a run (not logged in, no network,
                ...).
        """
        wandb = check()
        note = folder / f"{name}.wandb"
        if first_step <= 1 or not note.is_file():
            atomic.write_text(note, secrets.token_hex(4))
        group = folder.resolve().parent.name
        settings = {"project": project, "group": group, "job_type": name, "name": f"{group}-{name}"}
        if not paths.is_remote(folder):  # the package keeps its own files on a disk
            settings["dir"] = str(folder)
        try:
            self._run = wandb.init(**settings, id=note.read_text(encoding="utf-8"), resume="allow")
            # Its own count of steps only rises: a step written again would be dropped.
            self._run.define_metric("*", step_metric="step")
        except wandb.Error as error:
            way_out = "run `wandb login`, set WANDB_MODE=offline, or leave log.wandb empty"
            raise UserError(
                f"log.wandb={project!r}: no run can be started ({error}); {way_out}"
            ) from error

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """One line of numbers, all finite."""
        self._run.log({"step": step, **numbers})

    def close(self) -> None:
        """Ends the run; what is not sent yet is sent or kept."""
        self._run.finish()
