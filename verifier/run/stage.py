"""What a stage is: a value that says what it does, reads, makes and depends on.

A recipe (`verifier/recipes/`) is a function from a configuration to a list of these, and that list
is all that anybody knows of a run: the runner, a sweep, the plan and `--dry-run` loop over it.

Every result lies in a folder whose manifest is written last and notes the settings and, by role,
the ids of what it was made from: that is how a finished result is known again.
"""

from __future__ import annotations

import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from verifier import config as config_lib
from verifier.config import Mark
from verifier.errors import ConfigError
from verifier.tables.results import Page, Result
from verifier.text.split import Split


@dataclasses.dataclass(frozen=True)
class Files:
    """Files of others, wherever a knob says that they lie; they are known by their sums.

    Attributes:
        knob: by dotted path.
        names: values of it that name no files.
        watched: whether every start looks if they have changed where they lie, as it does for
            those that lie elsewhere by now: they are small, and written by hand.
    """

    knob: str
    names: tuple[str, ...] = ()
    watched: bool = False


@dataclasses.dataclass(frozen=True)
class Job:
    """Work on the devices, which is checked, planned and logged by its own name.

    Attributes:
        name: in logs and plans; of a training job also its section of the configuration.
        kind: training a model, drawing solutions, or reading them.
        weights: of a training job: the knob that names the weights it starts from in the end.
        loss: of a training job: from configuration and vocabulary size to what it makes smaller
            (`train.losses`).
        value_head: whether the model has one.
        train_share: of the training problems that it learns from, or draws solutions of.
        others: of drawing: whether held-out and test problems are drawn from, too.
        thoughts: of a model that may think (`model.thoughts`): how, by the configuration.
        windows: of a training job: whether its rows are windows of a corpus, not problems.
    """

    name: str
    kind: Literal["train", "draw", "read"]
    weights: str = "model.weights"
    loss: Callable[[config_lib.Config, int], Any] | None = None
    value_head: bool = False
    train_share: float = 1.0
    others: bool = True
    thoughts: Callable[[config_lib.Config], config_lib.QuietConfig] | None = None
    windows: bool = False

    def section(self, config: config_lib.Config) -> config_lib.TrainConfig:
        """The settings of a training job."""
        section: config_lib.TrainConfig = getattr(config, self.name)
        return section


@dataclasses.dataclass(frozen=True, eq=False)
class Stage:
    """One kind of work of a run.

    Attributes:
        do: the work; given a `run.context.Context`.
        makes: a model, a table or a page. Its `stage` is this stage's name, on the shell and in
            logs.
        splits: of a table: those that may be made.
        reads: by role, results of earlier stages, or files of others.
        knobs: what the result depends on besides what it reads: knobs and whole sections.
        ignores: prefixes of knobs among these that one split does not depend on.
        wants: whether a split is made where it is not there yet; None: every one is.
        partial: passes over the splits of whose inputs there are none.
        place: sub-workdir of the run's, such as `teacher` or `loop=1`; a workdir like any other.
        jobs: what it does on the devices.
        check: refuses, before any stage begins, what this one could not do.
        tell: what is said of the result at the end of the run.
        by_one: work for one process; the others wait.
        implied: done whenever a stage that reads it is, and not named on the shell.
    """

    do: Callable[[Any], None]
    makes: Result
    splits: tuple[Split, ...] = ()
    reads: Mapping[str, Input | Files] = dataclasses.field(default_factory=dict)
    knobs: tuple[str, ...] = ()
    ignores: Callable[[config_lib.Config, Split | None], Sequence[str]] | None = None
    wants: Callable[[config_lib.Config, Split | None], bool] | None = None
    partial: bool = False
    place: str = ""
    jobs: tuple[Job, ...] = ()
    check: Callable[[config_lib.Config], None] | None = None
    tell: Callable[[Any], None] | None = None
    by_one: bool = False
    implied: bool = False

    @property
    def name(self) -> str:
        return self.makes.stage

    def title(self, split: Split | None = None) -> str:
        """What lines say that they are about: `sample test (loop=1)`."""
        name = f"{self.name} {split}" if split else self.name
        return f"{name} ({self.place})" if self.place else name

    def __str__(self) -> str:
        return self.title()

    def refuse(self, config: config_lib.Config) -> None:
        """Refuses settings that its check has something against, or that its jobs cannot train by.

        Raises:
            ConfigError: rows of a training job that are longer than the context; or as its check.
        """
        if self.check is not None:
            self.check(config)
        for job in self.jobs:
            section = job.section(config) if job.kind == "train" else None
            if section and section.has_work and section.row_tokens > config.model.context:
                raise ConfigError(
                    f"{job.name}.row_tokens={section.row_tokens} is more than "
                    f"model.context={config.model.context}"
                )

    def workdir(self, root: pathlib.Path) -> pathlib.Path:
        """Where it works: the run's workdir, or its place in it."""
        return root / self.place

    def logs(self, root: pathlib.Path) -> pathlib.Path:
        """Where its jobs write their numbers by step."""
        return self.workdir(root) / "logs"

    def of(
        self, split: Split | None = None, noted: bool = True, serves: tuple[Split, ...] = ()
    ) -> Input:
        """What another stage reads of this one.

        Args:
            split: which one of a table; None: for every split that is made, the same split.
            noted: whether the manifest of what is made notes the id of what was read; there is no
                need where something else that is noted follows from it.
            serves: the splits that are made from it; empty: all that the other stage makes.
        """
        return Input(self, split, noted, serves)

    def results(self, root: pathlib.Path) -> dict[Split | None, pathlib.Path]:
        """The folders that it makes in a run's workdir, by split; None stands for the whole."""
        if isinstance(self.makes, Page):
            return {}
        here = self.workdir(root)
        return {split: self.makes.folder(here, split) for split in self.splits or (None,)}

    def settings(self, config: config_lib.Config, split: Split | None = None) -> dict[str, Any]:
        """The knobs that a result depends on, by dotted path."""
        ignored = tuple(self.ignores(config, split)) if self.ignores else ()
        idle = config_lib.marked(Mark.NO_EFFECT)
        return {
            path: value
            for path, value in config_lib.settings_of(config, *self.knobs).items()
            if path not in idle and not (ignored and path.startswith(ignored))
        }

    @property
    def files(self) -> tuple[Files, ...]:
        """What it reads of others."""
        return tuple(each for each in self.reads.values() if isinstance(each, Files))

    def named(self, config: config_lib.Config, watched: bool = False) -> list[str]:
        """The knobs that name such files, and that some split depends on.

        watched: of those alone that are.
        """
        flat = config_lib.flatten(config)
        splits = self.splits or (None,)
        ignored = [tuple(self.ignores(config, split)) for split in splits if self.ignores]
        return [
            each.knob
            for each in self.files
            if flat[each.knob] and flat[each.knob] not in each.names
            if each.watched or not watched
            if not (ignored and all(each.knob.startswith(prefixes) for prefixes in ignored))
        ]

    def inputs(self, split: Split | None = None) -> Iterator[tuple[str, Input]]:
        """Results of earlier stages that a result is made from, by role, their splits resolved."""
        for role, each in self.reads.items():
            if isinstance(each, Input) and each.is_for(split):
                yield role, each.resolved(split)


@dataclasses.dataclass(frozen=True, eq=False)
class Input:
    """A result of a stage, or one split of it, as another stage reads it."""

    stage: Stage
    split: Split | None = None
    noted: bool = True
    serves: tuple[Split, ...] = ()

    def is_for(self, split: Split | None) -> bool:
        """Whether a split is made from it; None: any."""
        return split is None or not self.serves or split in self.serves

    def resolved(self, split: Split | None) -> Input:
        """For the making of a split: that split, or the one whose problems it is of."""
        if self.split is not None or split is None or not self.stage.splits:
            return self
        own = split if split in self.stage.splits else split.problems
        return dataclasses.replace(self, split=own)

    def folder(self, root: pathlib.Path) -> pathlib.Path:
        """Where it lies in a run's workdir; of a table without a split: all of it."""
        return self.stage.makes.folder(self.stage.workdir(root), self.split)


def chosen(stages: Sequence[Stage], names: Sequence[str] | None) -> list[Stage]:
    """The stages of some names, in the recipe's order; None: all.

    Raises:
        ConfigError: a name that is no stage; the nearest one is shown.
    """
    known = list(dict.fromkeys(stage.name for stage in stages if not stage.implied))
    if names is not None and not names:
        raise ConfigError(
            f"--stages is empty; leave it out for all, or name some of {', '.join(known)}"
        )
    for name in names or ():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"--stages: there is no stage {name!r}{hint}. All:  {', '.join(known)}"
            )
    return [
        stage for stage in stages if not stage.implied and (names is None or stage.name in names)
    ]


def implied_by(stages: Sequence[Stage]) -> list[Stage]:
    """The implied stages that some stages read, and those that these read, in the order of need."""
    found: dict[Stage, None] = {}
    for stage in stages:
        for _, part in stage.inputs():
            if part.stage.implied and part.stage not in found:
                found |= dict.fromkeys([*implied_by([part.stage]), part.stage])
    return list(found)


def check_recipe(stages: Sequence[Stage]) -> None:
    """Looks whether stages can run in their order.

    Raises:
        ConfigError: there is none, one stands twice, or one reads what none before it makes.
    """
    if not stages:
        raise ConfigError("a recipe of no stage; expected at least one")
    seen: set[Stage] = set()
    titles: set[str] = set()
    for stage in stages:
        if stage.title() in titles:
            raise ConfigError(f"the stage {stage} stands twice; give one of them another place")
        for role, source in stage.inputs():
            if source.stage not in seen:
                raise ConfigError(
                    f"the stage {stage} reads {role} of the stage {source.stage}, which does not "
                    "come before it; put that into the list, earlier"
                )
        seen.add(stage)
        titles.add(stage.title())
