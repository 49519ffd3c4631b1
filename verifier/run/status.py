"""What a run would do, without doing any of it.

Every stage with what it reads and makes, and whether that is done, to do or refused.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from verifier import config as config_lib
from verifier.config import kinds
from verifier.errors import UserError
from verifier.run import workdir
from verifier.run.stage import Input, Stage, chosen, implied_by
from verifier.tables import store
from verifier.tables.results import Page
from verifier.text.split import Split

STATES = DONE, TO_DO, REFUSED = "done", "to do", "refused"


class Line(NamedTuple):
    """One result of a stage, as it stands.

    Attributes:
        stage: that makes it.
        makes: the model, the table or the page.
        split: of a table.
        reads: results of earlier stages, with the split where it is always the same one, and files
            of others by the knobs that name them.
        state: DONE, TO_DO or REFUSED.
        why: what is in the way, or what there is to say of the state.
    """

    stage: str
    makes: str
    split: str
    reads: tuple[str, ...]
    state: str
    why: str


def lines(
    stages: Sequence[Stage],
    names: Sequence[str] | None,
    config: config_lib.Config,
    root: pathlib.Path,
) -> list[Line]:
    """The results of a run's stages, in order.

    Args:
        stages: of the recipe.
        names: of the stages that are asked for; None: all.
        config: of the run.
        root: the workdir; need not be there.
    """
    wanted = chosen(stages, names)
    listed = {*wanted, *implied_by(wanted)}
    return [
        _line(stage, split, config, root)
        for stage in stages
        if stage in listed
        for split in stage.splits or (None,)
    ]


def _line(stage: Stage, split: Split | None, config: config_lib.Config, root: pathlib.Path) -> Line:
    flat = config_lib.flatten(config)
    reads = [_name(each) for each in stage.reads.values() if isinstance(each, Input)]
    reads += [f"{knob}={kinds.shortened(flat[knob])}" for knob in stage.files if flat[knob]]
    state, why = _state(stage, split, config, root)
    return Line(str(stage), stage.makes.name, str(split or ""), tuple(reads), state, why)


def _name(part: Input) -> str:
    place = f"{part.stage.place}/" if part.stage.place else ""
    return f"{place}{part.stage.makes.name}" + (f" {part.split}" if part.split else "")


def _state(
    stage: Stage, split: Split | None, config: config_lib.Config, root: pathlib.Path
) -> tuple[str, str]:
    """How a result stands, and why; what cannot be read is refused with the reason."""
    try:
        if stage.check is not None:
            stage.check(config)
        if isinstance(stage.makes, Page):
            return TO_DO, "whenever it is asked for"
        return _state_of_result(stage, split, config, root)
    except UserError as error:
        return REFUSED, str(error)


def _state_of_result(
    stage: Stage, split: Split | None, config: config_lib.Config, root: pathlib.Path
) -> tuple[str, str]:
    folder = stage.results(root)[split]
    manifest = store.read_manifest(folder)
    if manifest is None:
        begun = folder.is_dir() and any(folder.iterdir())
        return TO_DO, "begun, and gone on with" if begun else ""
    if changed := workdir.changes(stage, split, folder, config):
        return REFUSED, f"made with other settings: {'; '.join(changed)}"
    for role, part in stage.inputs(split):
        source = store.read_manifest(part.folder(root)) if part.noted else None
        noted = manifest["settings"].get(role)
        if source is not None and noted not in (None, source["id"]):
            return REFUSED, f"made from other {role} ({noted}) than are there ({source['id']})"
    return DONE, ""


def table(results: Sequence[Line]) -> str:
    """The results as text for a terminal: a block a stage, in it a line a state."""
    text = []
    for stage in dict.fromkeys(line.stage for line in results):
        of_stage = [line for line in results if line.stage == stage]
        text.append(f"{stage}: {of_stage[0].makes}")
        if of_stage[0].reads:
            text.append(f"    reads    {', '.join(of_stage[0].reads)}")
        for state, why in dict.fromkeys((line.state, line.why) for line in of_stage):
            splits = [line.split for line in of_stage if (line.state, line.why) == (state, why)]
            text.append(
                f"    {state:<8} {' '.join(splits)}".rstrip() + (f" ({why})" if why else "")
            )
    counts = {state: sum(line.state == state for line in results) for state in STATES}
    ends = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return "\n".join([*text, f"results: {ends}"])
