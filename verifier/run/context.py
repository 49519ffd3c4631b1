"""What a stage is given: the settings, and where what it reads and makes lies."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from verifier import config as config_lib
from verifier.run import workdir
from verifier.run.stage import Input, Stage
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
        return self.stage.workdir(self.root)

    @property
    def logs(self) -> pathlib.Path:
        return self.stage.logs(self.root)

    def title(self, split: Split | None = None) -> str:
        """What a line says that it is about: `sample test`, `sample test (loop=1)`."""
        return self.stage.title(split)

    def folder(self, split: Split | None = None) -> pathlib.Path:
        """Where the result goes, or one split of it."""
        return self.stage.results(self.root)[split]

    def input(self, role: str, split: Split | None = None) -> Input:
        """What is read in a role, for the making of a split."""
        source = self.stage.reads[role]
        assert isinstance(source, Input)  # a role of files has no folder in the workdir
        return source.resolved(split)

    def source(self, role: str, split: Split | None = None) -> pathlib.Path:
        """Where it lies."""
        return self.input(role, split).folder(self.root)

    def manifest(self, role: str, split: Split | None = None) -> dict[str, Any]:
        """Its manifest.

        Raises:
            WorkdirError: it is not finished; with the stage that makes it.
        """
        source = self.input(role, split)
        return workdir.manifest_of(source.folder(self.root), source.stage.name)

    def id_of(self, role: str, split: Split | None = None) -> str:
        """By what it is known again where something was made from it; raises as `manifest`."""
        return str(self.manifest(role, split)["id"])

    def settings(self, split: Split | None = None) -> dict[str, Any]:
        """What a result depends on: knobs by dotted path, and by role the ids of what it is made
        from; raises as `manifest`.
        """
        noted = {role: source for role, source in self.stage.inputs(split) if source.noted}
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
            log.say(f"{self.title(split)}: already done with these settings, skipped ({folder})")
        return done

    def refuse_stale(self, role: str, split: Split | None = None) -> None:
        """Refuses a table that was made from other tables than are there.

        Raises:
            TablesError: with both ids and the way out.
        """
        source = self.input(role, split)
        tables = {
            name: each.folder(self.root)
            for name, each in source.stage.inputs(source.split)
            if isinstance(each.stage.makes, Table)
        }
        provenance.refuse_other_sources(source.folder(self.root), tables, source.stage.name)

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

    def prompts(
        self, role: str, tokenizer: Tokenizer, split: Split | None = None
    ) -> dict[str, list[int]]:
        """The prompts in tokens of a role's problems (`problems`), by problem."""
        return {
            each.problem_id: self.prompt_ids(each, tokenizer) for each in self.problems(role, split)
        }
