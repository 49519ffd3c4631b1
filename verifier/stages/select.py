"""select: which checkpoint of a student is taken (Fu et al. 2023, section on model selection)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from verifier import config as config_lib
from verifier.errors import ConfigError
from verifier.evaluate import choices
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import existing_models, fitting, sample, stored_labels
from verifier.system import log
from verifier.tables import choices as choices_table
from verifier.tables.results import Model, Table

CHOICES = Table("choices", "select")


def stage(judged: Sequence[Stage]) -> Stage:
    """The choice among a student's checkpoints.

    Args:
        judged: of each checkpoint, number 1 first, the labels of what it has solved.
    """
    return Stage(
        select,
        makes=CHOICES,
        reads=stored_labels.by_split(
            {f"labels_{number}": each for number, each in enumerate(judged, 1)}
        ),
        knobs=("select.sets", "select.share", "select.checkpoints"),
        check=check,
        by_one=True,
    )


def chosen(choice: Stage, candidates: Sequence[Stage]) -> Stage:
    """The model that is chosen by `select.by`, as the run's generator.

    Args:
        choice: of `stage`.
        candidates: the checkpoints, number 1 first.
    """
    reads = {"choices": choice.of()}
    reads |= {f"checkpoint_{number}": each.of() for number, each in enumerate(candidates, 1)}
    return Stage(take, Model("generator", "student"), reads=reads, knobs=("select.by",))


def check(config: config_lib.Config) -> None:
    """Raises ConfigError for sets that are not tested on, or none to choose by."""
    known, sets = config.ood.sets, config.select.sets
    for name in sets:
        if name not in known:
            raise ConfigError(
                f"select.sets: {name!r} is not among ood.sets={list(known)}; add it there, or "
                "name one of them"
            )
    sample.refuse_no_greedy(config)
    if config.select.by == "ood" and not sets:
        raise ConfigError(
            "select.by=ood needs sets to choose by: name some in select.sets (and in ood.sets), "
            "or set select.by=heldout"
        )


def select(context: Context) -> None:
    """Values every checkpoint by every criterion, and says which is taken."""
    settings = context.settings()
    if context.is_done(settings):
        return
    config = context.config.select
    tested = [
        stored_labels.right_of(context, f"labels_{n}") for n in range(1, config.checkpoints + 1)
    ]
    rows = choices.choose(tested, config.sets, config.share)
    _say(context, rows)
    choices_table.write(
        context.folder(),
        [
            {"stage": "finetune", "candidate": f"checkpoint={each.candidate}"}
            | {"criterion": each.criterion, "value": each.value, "chosen": each.chosen}
            for each in rows
        ],
        settings,
    )


def take(context: Context) -> None:
    """Saves the chosen checkpoint as the run's generator."""
    settings = context.settings()
    if context.is_done(settings):
        return
    begun, by = time.monotonic(), context.config.select.by
    rows = choices_table.read(context.source("choices"))
    name = next(row["candidate"] for row in rows if row["criterion"] == by and row["chosen"])
    saved = existing_models.loaded(context, name.replace("=", "_"))
    facts = {"settings": settings, "template": saved.manifest["template"]}
    facts |= {"chosen": name, "chosen_by": by}
    fitting.finish(context, saved.model, saved.tokenizer, facts, begun)


def _say(context: Context, rows: Sequence[choices.Choice]) -> None:
    for criterion in choices.CRITERIA:
        own: Mapping[int, choices.Choice] = {
            each.candidate: each for each in rows if each.criterion == criterion
        }
        if own:
            taken = choices.best(rows, criterion)
            values = ", ".join(f"{each.value:.1%}" for each in own.values())
            log.say(f"{context.title()}: by {criterion} checkpoint {taken} of {values}")
