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
        """The run's problems, from its tables; written there first where they are not yet."""
        own, folders = workdir.settings(self.config, "problems"), self.dir.results("problems")
        if not all(workdir.is_done(folder, own) for folder in folders.values()):
            loaded = problems.load_problems(self.config.data, self.config.seed)
            for split, folder in folders.items():
                if not workdir.is_done(folder, own):
                    writer = store.TableWriter(folder, "problems", own)
                    writer.append(problems.problems_table([each for each in loaded[split] if each.problem_id not in writer.present()]))
                    writer.finish({})
        return {split: problems.problems_from_table(store.read_table(folder, "problems")) for split, folder in folders.items()}

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
