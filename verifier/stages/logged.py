"""sample: a teacher's solutions out of somebody's log of completions (`distill.log`)."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from verifier import config as config_lib
from verifier.errors import ConfigError, TablesError
from verifier.ingest.completion_logs import write_samples
from verifier.ingest.token_logs import Wanted
from verifier.run import inputs
from verifier.run.context import Context
from verifier.run.stage import Files, Stage
from verifier.system import log, paths
from verifier.tables import schemas, store
from verifier.tables.results import SAMPLES
from verifier.tables.scanning import scan_table
from verifier.text.split import TRAIN, Split

_ROWS = 4096  # that are held at a time
# What the log must tell of every solution, by what is learned of it.
_WANTED: dict[str, Wanted | None] = {
    "match_sample": None,
    "match_spans": "logprobs",
    "match_distribution": "top_logprobs",
}


def stage(problems: Stage, place: str) -> Stage:
    """Samples of the training problems that a log has solutions of, unlabelled ones among them."""
    return Stage(
        sample,
        makes=SAMPLES,
        splits=(TRAIN, *(split for split in problems.splits if split.unlabelled)),
        reads={"log": Files("distill.log", watched=True), "problems": problems.of()},
        knobs=("distill.log", "finetune.loss"),
        place=place,
        check=check,
        by_one=True,
    )


def check(config: config_lib.Config) -> None:
    """Raises ConfigError for a log beside a teacher, or one that is not there."""
    if config.distill.teacher:
        raise ConfigError(
            "distill.log and distill.teacher are both set: the solutions come from one of them; "
            "leave the other empty"
        )
    if not paths.local(config.distill.log).exists():
        raise ConfigError(
            f"distill.log={config.distill.log}: there is no such file or folder of files"
        )


def sample(context: Context) -> None:
    """Reads the log, and keeps what is of each split's problems.

    Raises:
        TablesError: none of it is, or it does not tell what is to be learned.
    """
    for split in context.stage.splits:
        settings, folder = context.settings(split), context.folder(split)
        read = folder.with_name(f"{folder.name}.read")
        if context.is_done(settings, split):
            shutil.rmtree(read, ignore_errors=True)  # of a start that was killed at its very end
        else:
            _keep(context, split, settings, read)


def _keep(context: Context, split: Split, settings: Mapping[str, Any], read: pathlib.Path) -> None:
    """Keeps what the log has of one split's problems; in `read` lies what has been read of it."""
    config, folder = context.config, context.folder(split)
    whose = "unlabelled" if split.unlabelled else "training"
    sums = inputs.sums(config, context.stage.named(config))
    source, wanted = paths.local(config.distill.log), _WANTED[config.finetune.loss]
    read_by = {"inputs": str(sums), "wanted": str(wanted)}
    _remove_other(read, read_by)
    write_samples(source, read, read_by, wanted)
    known = pa.array([each.problem_id for each in context.problems("problems", split)])
    scan = scan_table(read, "samples")
    more = [name for name in scan.names if name in schemas.types_of("samples").names]
    kept_schema = pa.schema([schemas.types_of("samples").field(name) for name in more])
    table = store.TableWriter(folder, "samples", settings, schema=kept_schema)
    there, kept = pa.array(sorted(table.present()), pa.string()), 0
    for batch in _whole_problems(scan.one_by_one(more, _ROWS)):
        own = batch.filter(pc.is_in(batch["problem_id"], value_set=known))
        kept += len(own)
        fresh = own.filter(pc.invert(pc.is_in(own["problem_id"], value_set=there)))
        table.append(fresh.select(kept_schema.names).cast(kept_schema))
    log.say(f"{context.title(split)}: {kept:,} of {scan.rows:,} solutions are of {whose} problems")
    if not kept:
        raise TablesError(
            f"{source}: none of its {scan.rows:,} solutions is of the {whose} problems; expected "
            "questions as they stand in the problems table, or a problem_id (a hash of the "
            "question)"
        )
    table.finish({"inputs": sums, "seconds": table.seconds()})
    shutil.rmtree(read)


def _remove_other(folder: pathlib.Path, settings: Mapping[str, str]) -> None:
    """What an earlier start has read of a log goes where that is another one by now."""
    earlier = store.read_manifest(folder) or store.begun_with(folder)
    if earlier is not None and earlier["settings"] != settings:
        shutil.rmtree(folder)


def _whole_problems(batches: Iterable[tuple[pa.Table, int]]) -> Iterator[pa.Table]:
    """The same rows, of which no problem is cut in two: those of one stand behind each other."""
    left: pa.Table | None = None
    for batch, _ in batches:
        both = batch if left is None else pa.concat_tables([left, batch])
        last = pc.equal(both["problem_id"], both["problem_id"][-1])
        yield both.filter(pc.invert(last))
        left = both.filter(last)
    if left is not None:
        yield left
