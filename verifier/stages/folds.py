"""Samples of training problems out of fold: each problem's are drawn by a generator that has not
learned it.

A generator solves the problems that it was fitted to far more often than others, and a verifier of
such samples learns what it does not meet in a test. Here the training problems are parted into
folds. In the place of each, `fold=0` and so on, a generator is fitted to all problems but the
fold's, by the settings of the run's own, and draws the samples of the fold's. The run's generator
learns them all, and draws those of held-out and test problems.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from verifier import config as config_lib
from verifier.errors import ConfigError, TablesError
from verifier.run import hosts, workdir
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import finetune, rollouts, sample, stored_samples
from verifier.system import log
from verifier.tables import store
from verifier.tables.results import PROBLEMS
from verifier.tasks import sources
from verifier.text.split import TRAIN, Split


class Fold(NamedTuple):
    """The stages of a fold."""

    problems: Stage  # which its generator does not learn
    generator: Stage
    samples: Stage

    @property
    def place(self) -> str:
        return self.samples.place


def of_run(config: config_lib.Config, problems: Stage) -> list[Fold]:
    """The folds of a run's training problems; none where `sample.folds` is 0 or 1."""
    folds, count = [], config.sample.folds
    for number in range(count if count > 1 else 0):
        place = f"fold={number}"
        own = Stage(
            functools.partial(_write_problems, number=number),
            makes=PROBLEMS,
            splits=(TRAIN,),
            reads={sample.OF_RUN: problems.of(TRAIN)},
            knobs=("sample.folds",),
            place=place,
            by_one=True,
            implied=True,
        )
        fitted = finetune.stage(problems, place, own)
        jobs = [dataclasses.replace(job, train_share=1 - 1 / count) for job in fitted.jobs]
        generator = dataclasses.replace(fitted, jobs=tuple(jobs))
        drawn = sample.stage(generator, own, [TRAIN], place)
        samples = dataclasses.replace(
            drawn,
            reads={**drawn.reads, sample.OF_RUN: problems.of(TRAIN, noted=False)},
            jobs=tuple(
                dataclasses.replace(job, train_share=1 / count, others=False) for job in drawn.jobs
            ),
            check=None,  # that there are no folds
        )
        folds.append(Fold(own, generator, samples))
    return folds


def fold_of(problem_id: str, folds: int) -> int:
    """The fold that a problem is in, whatever other problems there are."""
    digest = hashlib.sha256(f"fold/{problem_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


def samples(
    generator: Stage, problems: Stage, splits: Sequence[Split], folds: Sequence[Fold]
) -> Stage:
    """The samples of a run as one table: those of training problems joined out of the folds, the
    others drawn by the run's generator.

    Args:
        generator: of the run, which learns all training problems.
        problems: of the run.
        splits: whose problems, training ones among them.
        folds: of the run.
    """
    others = tuple(split for split in splits if split != TRAIN)
    drawn = sample.stage(generator, problems, others)
    joined = {fold.place: fold.samples.of(TRAIN, serves=(TRAIN,)) for fold in folds}
    return dataclasses.replace(
        drawn,
        do=functools.partial(_sample, drawn=drawn, folds=folds),
        splits=(TRAIN, *others),
        reads={**drawn.reads, "generator": generator.of(serves=others), **joined},
        jobs=tuple(dataclasses.replace(job, train_share=0.0) for job in drawn.jobs),
        check=check,
    )


def steps(samples: Stage, problems: Stage, folds: Sequence[Fold]) -> list[Stage]:
    """rollouts in every fold, and last of them all joined into a table of the run.

    Args:
        samples: of the run, out of the folds.
        problems: of the run.
        folds: of the run, whose generators go on from their samples.
    """
    own = [
        rollouts.stage(each.generator, each.samples, each.problems, each.place) for each in folds
    ]
    joined = {stage.place: stage.of(TRAIN) for stage in own}
    whole = dataclasses.replace(
        rollouts.stage(folds[0].generator, samples, problems),
        do=functools.partial(_join_steps, folds=own),
        reads={"samples": samples.of(), **joined},
    )
    return [*own, whole]


def check(config: config_lib.Config) -> None:
    """Raises ConfigError for more folds than problems."""
    for knob, problems in (
        ("data.train_problems", config.data.train_problems),
        ("sample.train_problems", config.sample.train_problems),
    ):
        if 0 < problems < config.sample.folds:
            raise ConfigError(
                f"sample.folds={config.sample.folds} with {knob}={problems}: expected at most as "
                "many folds as problems"
            )


def _write_problems(context: Context, number: int) -> None:
    """The training problems of a fold as a table.

    Raises:
        ConfigError: none of the problems that are to be sampled from is in it.
    """
    count, settings = context.config.sample.folds, context.settings(TRAIN)
    of_run = context.problems(sample.OF_RUN)
    own = [each for each in of_run if fold_of(each.problem_id, count) == number]
    sampled = of_run[: context.config.sample.train_problems or None]
    if not any(fold_of(each.problem_id, count) == number for each in sampled):
        raise ConfigError(
            f"sample.folds={count}: none of the {len(sampled):,} training problems that are "
            f"sampled from is in fold {number}; set fewer folds, or more problems "
            "(data.train_problems, sample.train_problems)"
        )
    folder = context.folder(TRAIN)
    if not workdir.is_done(folder, settings):
        store.remove_table(folder)
        writer = store.TableWriter(folder, "problems", settings)
        writer.append(sources.problems_table(own))
        writer.finish({"fold": number})


def _sample(context: Context, drawn: Stage, folds: Sequence[Fold]) -> None:
    """Joins the samples of the folds, then draws those of other problems."""
    if hosts.is_first() and not context.is_done(context.settings(TRAIN), TRAIN):
        facts: dict[str, Any] = {
            stored_samples.FOLDS: {fold.place: _facts(context, fold) for fold in folds}
        }
        manifests = [context.manifest(fold.place, TRAIN) for fold in folds]
        facts["left_out"] = sorted(key for each in manifests for key in each["left_out"])
        for name in ("tokens", "prefixes"):
            facts[name] = sum(each[name] for each in manifests)
        _join(
            context, [fold.samples for fold in folds], sample.schema(context.config.sample), facts
        )
    hosts.wait("folds joined")
    sample.sample(dataclasses.replace(context, stage=drawn))


def _join_steps(context: Context, folds: Sequence[Stage]) -> None:
    """Joins the rollouts of the folds."""
    if hosts.is_first() and not context.is_done(context.settings(TRAIN), TRAIN):
        _join(context, folds, store.SCHEMAS["steps"], {})
    hosts.wait("folds joined")


def _facts(context: Context, fold: Fold) -> dict[str, Any]:
    """What a fold's samples were made from, for the manifest of the joined table.

    Raises:
        TablesError: its generator may have learned problems that it has drawn solutions of.
        WorkdirError: it is not there.
    """
    context.refuse_stale(fold.place, TRAIN)
    made = dataclasses.replace(context, stage=fold.samples).manifest("generator")
    drawn = context.manifest(fold.place, TRAIN)["settings"]
    unseen = made["settings"].get(finetune.LEFT_OUT)
    if drawn["generator"] != made["id"] or drawn["problems"] != unseen:
        raise TablesError(
            f"the samples of {fold.place} are of the problems {drawn['problems']} and of generator "
            f"{drawn['generator']}, but generator {made['id']} is there, which has not learned the "
            f"problems {unseen}: remove {context.source(fold.place, TRAIN)} and sample anew"
        )
    kept = ("settings", "weights", "inputs")
    return {"generator": made["id"], "problems": unseen, **{name: made[name] for name in kept}}


def _join(
    context: Context, folds: Sequence[Stage], columns: pa.Schema, facts: dict[str, Any]
) -> None:
    """Writes the tables of folds as one, a part each; begun anew after a kill."""
    folder, settings = context.folder(TRAIN), context.settings(TRAIN)
    name, rows, seconds = context.stage.makes.name, 0, 0.0
    store.remove_table(folder)
    table = store.TableWriter(folder, name, settings, schema=columns)
    for fold in folds:
        source = fold.results(context.root)[TRAIN]
        own = store.read_table(source, name, columns.names)
        table.append(own)
        rows += len(own)
        seconds += (store.read_manifest(source) or {}).get("seconds", 0.0)
    table.finish({"seconds": seconds, **facts})
    log.say(f"{context.title(TRAIN)}: {rows:,} rows out of {len(folds)} folds")
