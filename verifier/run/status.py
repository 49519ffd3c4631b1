"""What a run would do, without doing any of it.

Every stage with what it reads and makes, and whether that is done, to do or refused.
"""

from __future__ import annotations

import collections
import pathlib
import types
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from verifier import config as config_lib
from verifier.config import kinds
from verifier.errors import UserError
from verifier.run import inputs, workdir
from verifier.run.context import Context
from verifier.run.stage import Input, Stage, chosen, implied_by
from verifier.tables import store
from verifier.tables.results import Page, Table
from verifier.text.split import Split

_NAMED = 6  # results of a kind that a stage reads and a line names
STATES = DONE, TO_DO, REFUSED = "done", "to do", "refused"


class Line(NamedTuple):
    """One result of a stage, as it stands.

    Attributes:
        stage: that makes it.
        makes: the model, the table or the page.
        split: of a table.
        note: what else there is to say of the stage.
        reads: results of earlier stages, with the split where it is always the same one, counted
            where they are many of a kind; and files of others by the knobs that name them.
        state: DONE, TO_DO or REFUSED.
        why: what is in the way, or what there is to say of the state.
    """

    stage: str
    makes: str
    split: str
    note: str
    reads: tuple[str, ...]
    state: str
    why: str


def lines(
    stages: Sequence[Stage],
    names: Sequence[str] | None,
    config: config_lib.Config,
    root: pathlib.Path,
    shared: Mapping[tuple[Stage, Split | None], str] = types.MappingProxyType({}),
) -> list[Line]:
    """The results of a run's stages, in order.

    Args:
        stages: of the recipe.
        names: of the stages that are asked for; None: all. Of the others those are told whose
            results are refused, which ends the run, too.
        config: of the run.
        root: the workdir; need not be there.
        shared: of a sweep: whose result another variant's link will lead to.
    """
    wanted = chosen(stages, names)
    runs = {*wanted, *implied_by(wanted)}
    told = []
    for stage in stages:
        for split in stage.splits or (None,):
            state, why = _state(Context(config, root, stage, stages), split, runs)
            if state == TO_DO and (stage, split) in shared:
                why = f"the one of {shared[stage, split]}"
            if state and (stage in runs or state == REFUSED):
                told.append(_line(stage, split, config, state, why))
    return told


def _line(
    stage: Stage, split: Split | None, config: config_lib.Config, state: str, why: str
) -> Line:
    flat = config_lib.flatten(config)
    reads = _results_read([each for each in stage.reads.values() if isinstance(each, Input)])
    reads += [f"{knob}={kinds.shortened(flat[knob])}" for knob in stage.named(config)]
    note = " (made when a stage reads it)" if stage.implied else ""
    return Line(str(stage), stage.makes.name, str(split or ""), note, tuple(reads), state, why)


def _results_read(sources: Sequence[Input]) -> list[str]:
    """Names of results; of a kind that is read from many places the count alone."""
    roles = collections.Counter(each.stage.makes.name for each in sources)
    named = (
        _name(each) if roles[kind] <= _NAMED else f"{kind} of {roles[kind]:,} roles"
        for each in sources
        for kind in (each.stage.makes.name,)
    )
    return list(dict.fromkeys(named))


def _name(source: Input) -> str:
    place = f"{source.stage.place}/" if source.stage.place else ""
    return f"{place}{source.stage.makes.name}" + (f" {source.split}" if source.split else "")


def _state(context: Context, split: Split | None, runs: Collection[Stage]) -> tuple[str, str]:
    """How a result stands, and why; what cannot be read is refused with the reason. No state: it
    is neither there nor asked for.
    """
    stage, config = context.stage, context.config
    try:
        if stage in runs:
            stage.refuse(config)
        if isinstance(stage.makes, Page):
            return TO_DO, "made anew every time"
        folder = context.folder(split)
        manifest = store.read_manifest(folder)
        if manifest is None and stage.wants is not None and not stage.wants(config, split):
            return "", ""
        if stage in runs and (missing := _missing(context, split, runs)):
            passed_over = stage.partial and not _all_missing(context, runs)
            return ("", "") if passed_over else (REFUSED, missing)
        if stage in runs:
            for role, source in stage.inputs(split):
                if isinstance(source.stage.makes, Table) and source.stage not in runs:
                    context.refuse_stale(role, split)
        if manifest is None:
            return TO_DO, _begun(context, split)
        changed = workdir.changes(manifest, _settings(context, split, manifest), stage.files)
        return (REFUSED, f"made otherwise: {'; '.join(changed)}") if changed else (DONE, "")
    except UserError as error:
        return REFUSED, " ".join(str(error).split())


def _missing(context: Context, split: Split | None, runs: Collection[Stage]) -> str:
    """What a result is made from, is not there, and will not be made before."""
    for _, source in context.stage.inputs(split):
        made = source.stage in runs or store.read_manifest(source.folder(context.root))
        if not made and (source.split is not None or not source.stage.splits):
            return f"there is no {_name(source)}; run the stage {source.stage.name!r} first"
    return ""


def _all_missing(context: Context, runs: Collection[Stage]) -> bool:
    return all(_missing(context, split, runs) for split in context.stage.splits)


def _settings(context: Context, split: Split | None, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished result should depend on; of what is not there, as its manifest says."""
    settings = context.stage.settings(context.config, split)
    for role, source in context.stage.inputs(split):
        if source.noted:
            there = store.read_manifest(source.folder(context.root))
            settings[role] = there["id"] if there else manifest["settings"].get(role)
    return settings


def _begun(context: Context, split: Split | None) -> str:
    """What is there of a result that is not finished; raises as its writer would."""
    folder = context.folder(split)
    if not folder.is_dir() or not any(folder.iterdir()):
        return ""
    if isinstance(context.stage.makes, Table) and not context.stage.implied:
        begun = store.begun_with(folder)
        if begun is not None:
            own = _settings(context, split, begun)
            if changed := config_lib.differences(begun["settings"], own):
                raise UserError(f"begun with other settings: {'; '.join(changed)}")
            noted = (begun.get("first_start") or {}).get("inputs", {})
            sums = inputs.sums(context.config, context.stage.named(context.config, watched=True))
            if changed := inputs.changed(noted, sums):
                raise UserError(f"begun with other files of {', '.join(changed)}")
    return "begun, and gone on with"


def table(results: Sequence[Line]) -> str:
    """The results as text for a terminal: a block a stage, in it a line a state."""
    text = []
    for stage in dict.fromkeys(line.stage for line in results):
        of_stage = [line for line in results if line.stage == stage]
        text.append(f"{stage}: {of_stage[0].makes}{of_stage[0].note}")
        if of_stage[0].reads:
            text.append(f"    reads    {', '.join(of_stage[0].reads)}")
        for state, why in dict.fromkeys((line.state, line.why) for line in of_stage):
            splits = [line.split for line in of_stage if (line.state, line.why) == (state, why)]
            text.append(
                f"    {state:<8} {' '.join(splits)}".rstrip() + (f" ({why})" if why else "")
            )
    counts = {state: sum(line.state == state for line in results) for state in STATES}
    ends = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return "\n".join([*text, f"results (a model, a split of a table, the page): {ends}"])
