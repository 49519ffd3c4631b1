"""problems: what a run is about, read once from where it lies and kept as a table."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.errors import WorkdirError
from verifier.run import workdir
from verifier.run.context import Context
from verifier.run.stage import Files, Stage
from verifier.tables import store
from verifier.tables.results import PROBLEMS
from verifier.tasks import sources
from verifier.text.problem import Problem
from verifier.text.split import HELDOUT, OWN, TEST, TRAIN, Split

Load = Callable[[], Mapping[str, list[Problem]]]


def stage(config: config_lib.Config, place: str = "", unlabelled: str = "") -> Stage:
    """The run's own problems and those of its further sets.

    Args:
        config: of the run.
        place: where they are kept.
        unlabelled: a set that is learned from without its answers, as `step_by_step.unlabelled`.
    """
    learned = (Split(TRAIN.of, unlabelled),) if unlabelled else ()
    return Stage(
        write,
        makes=PROBLEMS,
        splits=(TRAIN, HELDOUT, *test_splits(config), *learned),
        reads={
            "source": Files("data.source"),
            "folder": Files("data.dir"),
            "test_folder": Files("data.test_dir"),
            "further_folders": Files("ood.dirs"),
            **({"unlabelled_folder": Files("step_by_step.unlabelled_dir")} if learned else {}),
        },
        knobs=("seed", "data", "ood.problems", "ood.shared", "ood.bbh_tasks"),
        ignores=ignored,
        place=place,
        by_one=True,
        implied=True,
    )


def test_splits(config: config_lib.Config) -> tuple[Split, ...]:
    """The test problems and the further test sets."""
    return (TEST, *(Split("test", name) for name in config.ood.sets))


def ignored(config: config_lib.Config, split: Split | None) -> Sequence[str]:
    """A further set is of its own source, and the others know nothing of it."""
    if split is None or not split.set:
        return ("ood.",)
    of_set = ("data.",) if split.set == "bbh" else ("data.", "ood.bbh_tasks")
    if split.unlabelled:
        of_set = (*of_set, "ood.problems")
    # What refuses makes no table, and what was made without the knob tells nothing of it.
    return of_set if config.ood.shared == "leave_out" else (*of_set, "ood.shared")


def write(context: Context) -> None:
    """Writes the problems of every split, further sets included, where they are not yet.

    Raises:
        WorkdirError: `data.dir`, `data.source`, `ood.dirs` or `step_by_step.unlabelled_dir` is
            another one than the tables were made from, and holds other problems; or unlabelled
            problems are among those of a test set that came later.
    """
    data, ood, seed = context.config.data, context.config.ood, context.config.seed
    source = {name: getattr(data, name) for name in ("dir", "test_dir", "source")}
    _write(context, OWN, source, lambda: sources.load_problems(data, seed))
    further = [split for split in context.stage.splits if split.set and not split.unlabelled]
    if further:
        # None of them may be among those that are learned from.
        known = {str(split): _stored(context.folder(split)) for split in (TRAIN, HELDOUT)}
        folders = {"dirs": list(ood.dirs)}
        _write(context, further, folders, lambda: sources.load_further(ood, seed, known))
    for split in context.stage.splits:
        if split.unlabelled:
            _write_unlabelled(context, split)


def _write_unlabelled(context: Context, split: Split) -> None:
    """Writes problems to learn from without their answers, which no other split has."""
    splits = [other for other in context.stage.splits if other != split]
    others = {str(other): _stored(context.folder(other)) for other in splits}
    directory, shared = context.config.step_by_step.unlabelled_dir, context.config.ood.shared

    def load() -> dict[str, list[Problem]]:
        return {str(split): sources.load_unlabelled(split.set, directory, shared, others)}

    _write(context, [split], {"unlabelled_dir": directory}, load)
    folder = context.folder(split)
    learned = {each.problem_id for each in _stored(folder)}
    for name, problems in others.items():
        both = sum(each.problem_id in learned for each in problems)
        if both:  # with this table made before that test set was asked for
            raise WorkdirError(
                f"{folder} has {both:,} problems of {name}, which came later: take it out of "
                "ood.sets, use another --workdir, or remove that folder (and what was made from "
                "it) to make it anew with ood.shared=leave_out"
            )


def _write(
    context: Context, splits: Sequence[Split], source: Mapping[str, Any], load: Load
) -> None:
    """Some splits, which `load` reads from `source` where a table is missing, or was made from
    another source.
    """
    settings = {split: context.settings(split) for split in splits}
    done = {split: workdir.is_done(context.folder(split), settings[split]) for split in splits}
    if all(done[split] and _source(context.folder(split)) == source for split in splits):
        return
    loaded = load()
    for split in splits:
        folder, table = context.folder(split), sources.problems_table(loaded[str(split)])
        if not done[split]:
            store.remove_table(folder)
            writer = store.TableWriter(folder, "problems", settings[split])
            writer.append(table)
            writer.finish({"place": source})
        elif not store.read_table(folder, "problems").equals(table):
            where = ", ".join(f"{name}={value!r}" for name, value in source.items())
            raise WorkdirError(
                f"{folder} was made from other problems than those that are there now ({where}): "
                "use another --workdir for them"
            )


def _source(folder: pathlib.Path) -> Any:
    """Where a table's problems were read from."""
    return (store.read_manifest(folder) or {}).get("place")


def _stored(folder: pathlib.Path) -> list[Problem]:
    return sources.problems_from_table(store.read_table(folder, "problems"))
