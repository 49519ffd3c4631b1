"""What a stage is given: the settings, and where what it reads and makes lies."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from verifier import config as config_lib
from verifier.run import workdir
from verifier.run.stage import Part, Stage
from verifier.system import log
from verifier.tables import provenance, store
from verifier.tables.results import Table
from verifier.tasks import sources
from verifier.text.problem import Problem, Template, prompt_ids
from verifier.text.split import Split
from verifier.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Context:
    """A stage at work.

    Attributes:
        config: of the run, checked.
        root: the run's workdir.
        stage: the one at work.
        stages: all of the run.
    """

    config: config_lib.Config
    root: pathlib.Path
    stage: Stage
    stages: Sequence[Stage]

    @property
    def workdir(self) -> pathlib.Path:
        """Where this stage works: the run's workdir, or the stage's place in it."""
        return self.root / self.stage.place if self.stage.place else self.root

    @property
    def logs(self) -> pathlib.Path:
        return self.workdir / "logs"

    def what(self, split: Split | None = None) -> str:
        """What a line says that it is about: `sample test`."""
        place = f" ({self.stage.place})" if self.stage.place else ""
        return self.stage.name + (f" {split}" if split else "") + place

    def folder(self, split: Split | None = None) -> pathlib.Path:
        """Where the result goes, or one split of it."""
        return self.stage.results(self.root)[split]

    def part(self, role: str, split: Split | None = None) -> Part:
        """What is read in a role, for the making of a split."""
        part = self.stage.reads[role]
        assert isinstance(part, Part)  # a role of files has no folder in the workdir
        return part.resolved(split)

    def source(self, role: str, split: Split | None = None) -> pathlib.Path:
        """Where it lies."""
        return self.part(role, split).folder(self.root)

    def manifest(self, role: str, split: Split | None = None) -> dict[str, Any]:
        """Its manifest.

        Raises:
            WorkdirError: it is not finished; with the stage that makes it.
        """
        part = self.part(role, split)
        return workdir.manifest_of(part.folder(self.root), part.stage.name)

    def id_of(self, role: str, split: Split | None = None) -> str:
        """By what it is known again where something was made from it; raises as `manifest`."""
        manifest = self.manifest(role, split)
        if isinstance(self.part(role, split).stage.makes, Table):
            return store.table_id(manifest)
        name: str = manifest["id"]
        return name

    def settings(self, split: Split | None = None) -> dict[str, Any]:
        """What a result depends on: knobs by dotted path, and by role the ids of what it is made
        from; raises as `manifest`.
        """
        noted = {role: part for role, part in self.stage.parts(split) if part.noted}
        own = self.stage.settings(self.config, split)
        return own | {role: self.id_of(role, split) for role in noted}

    def is_done(self, settings: dict[str, Any], split: Split | None = None) -> bool:
        """Whether the result of these settings is there already, with a line that says so.

        Raises:
            WorkdirError: one of other settings is there.
        """
        folder = self.folder(split)
        done = workdir.is_done(folder, settings, self.stage.files)
        if done:
            log.say(f"{self.what(split)}: already done with these settings, skipped ({folder})")
        return done

    def refuse_stale(self, role: str, split: Split | None = None) -> None:
        """Refuses a table that was made from other tables than are there.

        Raises:
            TablesError: with both ids and the way out.
        """
        part = self.part(role, split)
        tables = {
            name: each.folder(self.root)
            for name, each in part.stage.parts(part.split)
            if isinstance(each.stage.makes, Table)
        }
        provenance.refuse_other_sources(part.folder(self.root), tables, part.stage.name)

    def problems(self, role: str, split: Split | None = None) -> list[Problem]:
        """The problems that are read in a role."""
        table = store.read_table(self.source(role, split), "problems")
        return sources.problems_from_table(table)

    def template(self) -> Template:
        """How a problem is put to a model."""
        return Template(self.config.data.prompt_template, self.config.data.target_template)

    def prompt_ids(self, problem: Problem, tokenizer: Tokenizer) -> list[int]:
        """A problem's question as a prompt in tokens."""
        return prompt_ids(problem.question, self.template(), tokenizer)
