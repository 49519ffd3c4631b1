"""What every stage is given: the settings, the workdir, the problems and how they are put to a model. Knows no stage's work."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from verifier import config as config_lib
from verifier import log, workdir
from verifier.data import problems, store
from verifier.text.problem import Problem, Template
from verifier.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given."""

    config: config_lib.Config
    dir: workdir.Workdir

    def problems(self) -> dict[str, list[Problem]]:
        """The run's problems, from its tables; written there first where they are not yet.

        Raises:
            WorkdirError: `data.dir` or `data.source` is another one than the tables were made from, and holds other problems.
        """
        own, folders = workdir.settings(self.config, "problems"), self.dir.results("problems")
        place = {name: getattr(self.config.data, name) for name in ("dir", "test_dir", "source")}
        done = {split: workdir.is_done(folder, own) for split, folder in folders.items()}
        moved = any(done[split] and store.read_manifest(folder)["place"] != place for split, folder in folders.items())  # type: ignore[index]
        if moved or not all(done.values()):
            loaded = problems.load_problems(self.config.data, self.config.seed)
            for split, folder in folders.items():
                table = problems.problems_table(loaded[split])
                if not done[split]:
                    store.remove_table(folder)
                    writer = store.TableWriter(folder, "problems", own)
                    writer.append(table)
                    writer.finish({"place": place})
                elif not store.read_table(folder, "problems").equals(table):
                    raise workdir.WorkdirError(
                        f"{folder} was made from other problems than those of data.dir={place['dir']!r} (source {place['source']}): "
                        "use another --workdir for them"
                    )
        return {split: problems.problems_from_table(store.read_table(folder, "problems")) for split, folder in folders.items()}

    def table_id(self, table: str, split: str) -> str:
        """What is made from a table's rows knows them again by this.

        Raises:
            WorkdirError: the table is not finished.
        """
        stage = table if table == "problems" else table.removesuffix("s")
        return store.table_id(workdir.manifest_of(self.dir.table(table, split), stage))

    def check_generator(self, split: str, generator: str) -> None:
        """Refuses samples of another generator than the verifier's, unless that is asked for.

        Raises:
            WorkdirError: they are of another one.
        """
        drawn_by = workdir.manifest_of(self.dir.table("samples", split), "sample")["settings"]["generator"]
        if drawn_by != generator and not self.config.verify.other_generator:
            raise workdir.WorkdirError(
                f"the samples of {split} were drawn by generator {drawn_by}, but the verifier starts from {generator}: remove "
                f"{self.dir.table('samples', split)} and sample anew, or set verify.other_generator=true"
            )

    def template(self) -> Template:
        return Template(self.config.data.prompt_template, self.config.data.target_template)

    def prompt_ids(self, problem: Problem, tokenizer: Tokenizer) -> list[int]:
        return [*tokenizer.start_ids, *tokenizer.encode(self.template().render_prompt(problem.question))]

    def finished(self, what: str, folder: pathlib.Path, own: dict[str, Any]) -> bool:
        """Whether a result of these settings is there already, with a line that says so."""
        done = workdir.is_done(folder, own)
        if done:
            log.say(f"{what}: already done with these settings, skipped ({folder})")
        return done
