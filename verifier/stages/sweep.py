"""Variants of one experiment, one after the other, over shared results.

ROOT/seed=0/base/           a workdir like any other
ROOT/seed=0/VARIANT/        another; a result that an earlier one has made of the same settings is a
                            link to it
ROOT/compare/THEME/         what comes out of the variants of a theme, beside the base
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from verifier import config as config_lib
from verifier import errors
from verifier.config import checks as config_checks
from verifier.config import kinds
from verifier.evaluate import heldout_curves
from verifier.evaluate.heldout_curves import Curve
from verifier.report import comparison_page, side_by_side
from verifier.report import variants as variants_lib
from verifier.run import hosts, workdir
from verifier.run.experiment import Recipe
from verifier.run.stage import Stage, chosen
from verifier.system import atomic, log, paths
from verifier.tables import store
from verifier.tables.results import SAMPLES, Page
from verifier.text.split import TEST, Split

BASE = "base"  # the variant without assignments, which every theme is compared with
Themes = Mapping[str, Mapping[str, Sequence[str]]]  # assignments by theme and variant
# What a run does: `runner.run`.
RunOne = Callable[[Sequence[Stage], config_lib.Config, pathlib.Path, Sequence[str] | None], None]
# Of a theme or variant, which has a folder of that name.
_NAME = re.compile(r"\w(?:[\w .+=,-]{0,58}[\w.+=,-])?")


class Variant(NamedTuple):
    """One run of a sweep."""

    name: str
    config: config_lib.Config
    root: pathlib.Path
    stages: Sequence[Stage]


def check(
    config: config_lib.Config,
    recipe: Recipe,
    themes: Themes,
    seeds: Sequence[int],
    root: pathlib.Path,
    names: Sequence[str] | None = None,
) -> list[list[Variant]]:
    """The variants of every seed, base first.

    Args:
        config: of the base.
        recipe: the stages of each.
        themes: assignments by theme and variant, of all themes, run or not: what any of their
            variants has made is shared. A variant may stand in several themes, with the same
            assignments.
        seeds: of the runs; the base's own seed is not used, and a variant has none.
        root: of the sweep.
        names: of the stages that are to run; None: all.

    Raises:
        ConfigError: an assignment that is no knob, settings that no stage could use, two variants
            of one name, or a name that no folder can have; with the variant. Or a root behind an
            object store, which knows no links.
    """
    if paths.is_remote(root):
        raise errors.ConfigError(
            f"--workdir={root}: a sweep links what its variants share, which only folders can; "
            "name a folder"
        )
    assigned = _assigned(themes)
    of_seeds: list[list[Variant]] = []
    for seed in seeds:
        of_seeds.append([])
        for name, assignments in assigned.items():
            try:
                own = config_lib.override(config, [f"seed={seed}", *assignments])
                config_checks.check(own)
                variant = Variant(name, own, root / f"seed={seed}" / name, recipe(own))
                for stage in chosen(variant.stages, names):
                    stage.refuse(own)
            except errors.UserError as error:
                raise errors.ConfigError(f"the variant {name!r}: {error}") from error
            of_seeds[-1].append(variant)
    return of_seeds


def _assigned(themes: Themes) -> dict[str, Sequence[str]]:
    """The assignments of every variant by its name, the base's first; raises as `check`."""
    assigned: dict[str, Sequence[str]] = {BASE: ()}
    for theme, variants in themes.items():
        for name in (theme, *variants):
            if not _NAME.fullmatch(name):
                raise errors.ConfigError(
                    f"{kinds.shortened(name)} cannot name a theme or variant, which has a folder "
                    "of that name: expected at most 60 letters, digits, spaces and . _ + = , - "
                    "with a letter or digit first and no space last"
                )
        for name, assignments in variants.items():
            if any(each.partition("=")[0].strip() == "seed" for each in assignments):
                raise errors.ConfigError(
                    f"the variant {name!r} assigns a seed; those of a sweep are given by --seeds"
                )
            if any("".join(each.split()) == "model.dtype=auto" for each in assignments):
                raise errors.ConfigError(
                    f"the variant {name!r} assigns model.dtype=auto, which stands for one type in "
                    "the whole of a sweep: leave it to the base, or name the type"
                )
            if list(assigned.setdefault(name, assignments)) != list(assignments):
                raise errors.ConfigError(
                    f"the variant {name!r} of the theme {theme!r} has the name of another one; "
                    "call it otherwise"
                )
    return assigned


def run(
    variants: Sequence[Sequence[Variant]],
    themes: Themes,
    root: pathlib.Path,
    names: Sequence[str] | None,
    run_one: RunOne,
) -> None:
    """Runs the base and the variants of some themes, then compares those of each; killed and
    started again, it goes on where it was.

    Args:
        variants: from `check`.
        themes: those of `check` that are to be run.
        root: of the sweep.
        names: of stages; None: all.
        run_one: what a run does.
    """
    with workdir.locked(root) if hosts.is_first() else contextlib.nullcontext():
        for of_seed in variants:
            for variant in named([of_seed], themes):
                log.say(f"==== {variant.root}")
                if hosts.is_first():
                    share(variant, of_seed)
                hosts.wait("shared")
                run_one(variant.stages, variant.config, variant.root, names)
        stages = variants[0][0].stages
        reported = _has_page(chosen(stages, names))
        if hosts.is_first() and (reported or not _has_page(stages)):
            for theme in themes:
                compare(theme, [BASE, *themes[theme]], variants, root / "compare" / theme)
        hosts.wait("compared")


def _has_page(stages: Sequence[Stage]) -> bool:
    """Whether some stages write the report of the run itself."""
    return any(isinstance(stage.makes, Page) for stage in stages if not stage.place)


def named(variants: Sequence[Sequence[Variant]], themes: Themes) -> list[Variant]:
    """The base and the variants of some themes, seed by seed."""
    wanted = {BASE, *(name for theme in themes.values() for name in theme)}
    return [each for of_seed in variants for each in of_seed if each.name in wanted]


def to_be_shared(
    variant: Variant, earlier: Sequence[Variant]
) -> dict[tuple[Stage, Split | None], str]:
    """Which results a variant will link to, and whose they are: the first earlier one's alike."""
    shared = {}
    for stage in variant.stages:
        for split in stage.results(variant.root):
            follows = follows_from(variant.config, stage, split)
            for other in earlier:
                alike = _same_stage(stage, split, other)
                if alike and follows_from(other.config, alike, split) == follows:
                    shared[stage, split] = other.name
                    break
    return shared


def compare(
    theme: str, names: Sequence[str], variants: Sequence[Sequence[Variant]], out: pathlib.Path
) -> None:
    """Writes comparison.json and, of the first seed, a page of the variants tested on problems of
    the base, and prints their table.
    """
    roots = {
        name: {
            each.config.seed: each.root
            for of_seed in variants
            for each in of_seed
            if each.name == name
        }
        for name in names
    }
    config = variants[0][0].config
    tested = _tests(variants[0][0])
    compared = variants_lib.compare(
        roots, config.report.ks, config.report.resamples, config.seed, tested
    )
    heldout = _heldout(names, variants)
    atomic.write_json(out / "comparison.json", compared)
    if heldout:
        atomic.write_json(out / "heldout.json", heldout)
    first = config.seed
    log.tell(f"\n{theme}\n{variants_lib.table(compared)}")
    for job, terms in heldout.items():
        log.tell(heldout_curves.table(job, terms, BASE))
    log.tell(f"\ncomparison  {out / 'comparison.json'}")
    on_test = compared["splits"].get(str(TEST), {})
    on_page = [name for name in names if on_test.get(name, {}).get("n_shared_problems")][
        : comparison_page.MOST
    ]
    if len(on_page) > 1:
        side_by_side.compare(
            [roots[name][first] for name in on_page],
            out / "page",
            TEST,
            config.report.resamples,
            first,
        )
        log.tell(f"page        {out / 'page' / 'index.html'} (seed {first})")
    if tested and (left := [name for name in names if name not in on_page]):
        log.tell(
            f"not on it   {', '.join(left)}: no test problem of {BASE}, or more than "
            f"{comparison_page.MOST} runs"
        )


def _tests(variant: Variant) -> bool:
    """Whether a run's own report is of its samples; else they lie in places of its own."""
    return any(stage.makes is SAMPLES and not stage.place for stage in variant.stages)


def _heldout(
    names: Sequence[str], variants: Sequence[Sequence[Variant]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """By training job what the variants come to on held-out problems, and when they are where the
    base ends; of what a variant has trained itself, not of what it shares.
    """
    curves: dict[str, dict[str, dict[int, dict[str, Curve]]]] = {}
    for variant in (each for of_seed in variants for each in of_seed if each.name in names):
        for stage in variant.stages:
            for job in (job for job in stage.jobs if job.kind == "train"):
                path = stage.logs(variant.root) / f"{job.name}.jsonl"
                if own := heldout_curves.read(path):
                    title = f"{job.name} ({stage.place})" if stage.place else job.name
                    by_name = curves.setdefault(title, {})
                    by_name.setdefault(variant.name, {})[variant.config.seed] = own
    return {
        job: heldout_curves.compare(by_name, BASE)
        for job, by_name in curves.items()
        if BASE in by_name and len(by_name) > 1
    }


def share(variant: Variant, others: Sequence[Variant]) -> None:
    """Links what another variant has finished and this one would make again: same settings, made
    from the same.

    Whether a linked result is really of this variant's settings is judged by the rule of every
    workdir, when a stage looks at it.
    """
    linked: dict[str, list[str]] = {}
    for stage in variant.stages:
        for split, folder in stage.results(variant.root).items():
            if folder.is_symlink() and not folder.exists():  # what it led to has been removed
                folder.unlink()
            if folder.exists():
                continue
            for other in others:
                theirs = _finished_by(variant, stage, split, other)
                if other.name != variant.name and theirs is not None:
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    folder.symlink_to(
                        os.path.relpath(theirs.resolve(), folder.parent.resolve()),
                        target_is_directory=True,
                    )
                    words = f"{stage.name} {split or ''}".strip()
                    linked.setdefault(other.name, []).append(words)
                    break
    for name, results in linked.items():
        log.say(f"{variant.name} shares with {name}: {', '.join(results)}")


def _finished_by(
    variant: Variant, stage: Stage, split: Split | None, other: Variant
) -> pathlib.Path | None:
    """Where another variant has finished what a stage would make; None where it has not."""
    same = _same_stage(stage, split, other)
    if same is None:
        return None
    folder = same.results(other.root)[split]
    own = follows_from(variant.config, stage, split)
    if store.read_manifest(folder) and own == follows_from(other.config, same, split):
        return folder
    return None


def _same_stage(stage: Stage, split: Split | None, other: Variant) -> Stage | None:
    """Another variant's stage that makes the same result of it."""
    kind = stage.makes, stage.place
    alike = (each for each in other.stages if (each.makes, each.place) == kind)
    return next((each for each in alike if split in each.results(other.root)), None)


@functools.cache  # asked for every pair of variants, and again for what each result is made from
def follows_from(config: config_lib.Config, stage: Stage, split: Split | None = None) -> str:
    """All settings that a result follows from, its own and those of what it is made from, as
    canonical JSON.
    """
    # A run is told by what it has read; a sweep must know before anything is read.
    own = stage.settings(config, split) | config_lib.settings_of(config, *stage.named(config))
    made_from = [follows_from(config, part.stage, part.split) for _, part in stage.inputs(split)]
    return json.dumps([own, made_from], sort_keys=True)
