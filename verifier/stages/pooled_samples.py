"""pool: samples of several models as one table, for a verifier that learns from all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import table_writing
from verifier.system import log
from verifier.tables import store
from verifier.tables.results import Table
from verifier.text.split import Split

POOL = Table("samples", "pool")


def stage(sources: Sequence[Stage], generator: Stage, splits: Sequence[Split], place: str) -> Stage:
    """Samples of several stages, whose models have the same tokens.

    Args:
        sources: of which each has all of the splits. Those of one keep their numbers; of each
            further one they are higher than those before.
        generator: the newest of the models, which stands for all where one is to be named; each
            row names its own.
        splits: that are pooled.
        place: where they are kept.
    """
    return Stage(
        pool,
        makes=POOL,
        splits=tuple(splits),
        reads={
            "generator": generator.of(),
            **{f"samples {number}": each.of() for number, each in enumerate(sources)},
        },
        knobs=("sample.calculator",),
        place=place,
        by_one=True,
        partial=True,
    )


def pool(context: Context) -> None:
    """Writes the pool of every split that the sources have.

    Raises:
        WorkdirError: one of them has none of it, where another one has.
    """
    roles = [role for role in context.stage.reads if role != "generator"]
    for split in context.stage.splits:
        if not any(store.read_manifest(context.source(role, split)) for role in roles):
            continue  # greedy ones, where none are drawn
        for role in roles:
            context.refuse_stale(role, split)
        settings = context.settings(split)
        if not context.is_done(settings, split):
            _pool(context, split, roles, settings)


def _pool(
    context: Context, split: Split, roles: Sequence[str], settings: dict[str, object]
) -> None:
    table = store.TableWriter(context.folder(split), "samples", settings)
    parts, above = [], 0
    for role in roles:
        rows = store.read_table(context.source(role, split), "samples", table.schema.names)
        numbers = pc.add(rows["sample_id"], pa.scalar(above, pa.int32()))
        column = rows.schema.get_field_index("sample_id")
        parts.append(rows.set_column(column, table.schema.field("sample_id"), numbers))
        above = max(above, 1 + (pc.max(numbers).as_py() or 0))
    rows = pa.concat_tables(parts).select(table.schema.names)
    rows = rows.sort_by([("problem_id", "ascending"), ("sample_id", "ascending")])
    present, keys = table.present(), rows["problem_id"].combine_chunks()
    for here in _whole_problems(keys, table_writing.PART_ROWS):
        if keys[here.start].as_py() not in present:
            table.append(rows.slice(here.start, here.stop - here.start).cast(table.schema))
    generators = sorted(pc.unique(rows["generator"]).to_pylist())
    table.finish({"seconds": table.seconds(), "generators": generators})
    log.say(f"{context.title(split)}: {len(rows):,} solutions of {len(generators)} models")


def _whole_problems(keys: pa.Array, most: int) -> list[slice]:
    """Rows in order of their problems in slices of about `most`, none of which parts a problem."""
    codes = keys.dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    firsts = [int(starts[0])] if len(starts) else []
    for start in starts.tolist():
        if start - firsts[-1] >= most:
            firsts.append(start)
    return [slice(*ends) for ends in zip(firsts, [*firsts[1:], len(keys)], strict=True)]
