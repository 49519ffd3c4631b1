"""The two stages that write and read solutions: sample and score.

Each process takes its share of the problems, on its own devices.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from verifier import config as config_lib
from verifier import errors
from verifier.decode import memory, steps
from verifier.decode.engine import Counts, Engine, Planner, Prompt
from verifier.decode.score import Solutions, score_samples
from verifier.model import sharding
from verifier.run import hosts, model_folder, workdir
from verifier.run.context import Run
from verifier.system import log, stopping
from verifier.tables import provenance, store
from verifier.text.problem import Problem
from verifier.text.tokenizer import Tokenizer

# rows of a table that wait to be written as one part, or as many as come in PART_SECONDS: what a
# kill can cost
PART_ROWS = 4096
PART_SECONDS = 60.0
SHOWN_EVERY = 16  # steps between two looks at a job in which no solution ended


def sample(run: Run) -> None:
    """Draws solutions of every split's problems, and one greedy solution of every test problem,
    further test sets included.
    """
    found = run.problems()
    config = run.config.sample
    generator = _Generator(run, sharding.own_mesh(run.config.mesh))
    train = found["train"][: config.train_problems or None]
    asked = [("train", train, config, config.train_samples)]
    asked += [("heldout", found["heldout"], config, config.heldout_samples)]
    tests = ("test", *workdir.further_splits(run.config))
    asked += [(split, found[split], config, config.test_samples) for split in tests]
    if config.greedy:
        greedy = dataclasses.replace(config, temperature=0.0)
        asked += [(split + workdir.GREEDY_SUFFIX, found[split], greedy, 1) for split in tests]
    # All are planned before the generator is read: what does not fit is said at once, not after
    # hours.
    jobs = [job for each in asked if (job := _sample_job(run, generator, *each)) is not None]
    for job in jobs:
        _sample_split(run, generator, job)


def score(run: Run) -> None:
    """Lets the verifier read the stored samples of held-out and test problems, further test sets
    included.
    """
    manifest = workdir.manifest_of(run.dir.verifier, "verify")
    verifier: model_folder.Saved | None = None  # not read where all tables are done
    found, mesh = run.problems(), sharding.own_mesh(run.config.mesh)
    squash = model_folder.gives_logits(manifest)
    for split in run.dir.results("score", workdir.further_splits(run.config)):
        drawn_by = run.drawn_by(split, provenance.trained_on(manifest))
        own = workdir.settings(run.config, "score") | {
            "verifier": manifest["id"],
            "samples": run.table_id("samples", split),
        }
        folder = run.dir.table("scores", split)
        if run.finished(f"score {split}", folder, own):
            continue
        writer = _writer(folder, "scores", own)
        verifier = verifier or model_folder.load(
            run.dir.verifier, "verify", run.config.model.dtype, mesh
        )
        writer.begin()
        prompts = {
            each.problem_id: run.prompt_ids(each, verifier.tokenizer) for each in found[split]
        }
        reads_text = bool(manifest.get("reads_text")) or drawn_by != manifest["generator"]
        asked = _solutions(run, split, prompts, verifier.tokenizer, reads_text)
        asked, too_long = _readable(asked, verifier.model.backbone.arch.context, split)
        asked = [
            asked[place] for place in hosts.share([sum(map(len, each.tokens)) for each in asked])
        ]
        present = writer.present()
        done = sum(len(each.tokens) for each in asked if each.problem_id in present)
        progress = log.Progress(
            sum(len(each.tokens) for each in asked), "solution", f"score {split}", done=done
        )
        with progress, stopping.saving():
            scored = score_samples(
                verifier.model, asked, run.config.score, verifier.id, squash, mesh, present
            )
            _write(writer, _counted(scored, progress))
        _finish(writer, {"reads_text": reads_text, "too_long": too_long})


def _readable(
    problems: Sequence[Solutions], context: int, split: str
) -> tuple[list[Solutions], int]:
    """What a verifier can read: no limit of sampling keeps solutions within the context of one that
    started from weights of its own.

    Returns:
        The problems without the solutions beyond the context, those with none left out; and how
        many such solutions there are.

    Raises:
        UserError: there is nothing but such solutions.
    """
    kept = []
    for each in problems:
        places = [
            place
            for place, tokens in enumerate(each.tokens)
            if len(each.prompt) + len(tokens) <= context
        ]
        if len(places) < len(each.tokens):
            ids, tokens = (
                [each.sample_ids[place] for place in places],
                [each.tokens[place] for place in places],
            )
            each = dataclasses.replace(each, sample_ids=ids, tokens=tokens)
        kept += [each] if places else []
    drawn = sum(len(each.tokens) for each in problems)
    too_long = drawn - sum(len(each.tokens) for each in kept)
    if drawn and not kept:
        raise errors.UserError(
            f"score {split}: none of the {drawn:,} solutions fits the verifier's context of "
            f"{context:,} tokens with its prompt; train one with a longer context "
            "(verify.weights, model.context), or sample shorter solutions "
            "(sample.max_new_tokens)"
        )
    if too_long:
        log.say(
            f"score {split}: {too_long:,} of {drawn:,} solutions get no score: with their "
            f"prompts they have more than the {context:,} tokens of the verifier's context; "
            "the report leaves them out of all figures and says so"
        )
    return kept, too_long


class _SampleJob(NamedTuple):
    """One split to be drawn, or to be gone on with."""

    split: str
    writer: store.TableWriter
    config: config_lib.SampleConfig
    prompts: list[Prompt]  # that fit
    samples: int
    plan: memory.Plan
    left_out: list[str]


def _sample_job(
    run: Run,
    generator: _Generator,
    split: str,
    found: Sequence[Problem],
    config: config_lib.SampleConfig,
    samples: int,
) -> _SampleJob | None:
    """What is missing of one split's samples; None: nothing."""
    folder = run.dir.table("samples", split)
    asked = {
        "generator": generator.id,
        "problems": run.table_id("problems", split.removesuffix(workdir.GREEDY_SUFFIX)),
    }
    own = workdir.settings(run.config, "sample", split) | asked
    if not found or run.finished(f"sample {split}", folder, own):
        return None
    writer = _writer(folder, "samples", own)
    planner = generator.planner(config)
    prompts = [
        Prompt(each.problem_id, run.prompt_ids(each, generator.outline.tokenizer)) for each in found
    ]
    fitting, too_long = planner.split(prompts)
    for prompt in too_long:
        log.say(
            f"sample {split}: problem {prompt.problem_id} is left out: its prompt has "
            f"{len(prompt.tokens)} tokens, of {planner.room}"
        )
    if not fitting:
        raise errors.ConfigError(
            f"sample {split}: no prompt fits; lower sample.max_new_tokens or raise model.context"
        )
    plan = _plan_of_the_first_start(split, writer, planner.plan(fitting, samples), config)
    return _SampleJob(
        split, writer, config, fitting, samples, plan, [prompt.problem_id for prompt in too_long]
    )


def _plan_of_the_first_start(
    split: str, writer: store.TableWriter, plan: memory.Plan, config: config_lib.SampleConfig
) -> memory.Plan:
    """The sizes that a split was begun with, whatever memory is free now; `plan` where they were
    asked for otherwise or do not fit.

    Programs are compiled by sizes, and those of other sizes add up in another order.
    """
    device = jax.local_devices()[0].device_kind
    asked = {
        "rows": config.rows,
        "memory_gib": config.memory_gib,
        "devices": f"{jax.device_count()} x {device}",
        "hosts": hosts.count(),
    }
    first = (
        writer.first_start({"asked": asked, "plan": dataclasses.asdict(plan)})
        if hosts.is_first()
        else None
    )
    if first is None or hosts.count() > 1:  # which host draws what is decided as they go
        return plan
    begun = memory.Plan.from_dict(first["plan"])
    changed = config_lib.differences(first["asked"], asked)
    if begun.total_bytes > plan.budget_bytes:
        changed.append(
            f"{plan.budget_bytes / 2**30:.3g} GiB are free, not {begun.total_bytes / 2**30:.3g}"
        )
    if not changed:
        return begun
    log.say(
        f"sample {split}: goes on with other sizes ({'; '.join(changed)}): log-probabilities "
        "may differ in their last digits"
    )
    return plan


def _sample_split(run: Run, generator: _Generator, job: _SampleJob) -> None:
    """Draws what is missing of one split's samples."""
    job.writer.begin()
    present, steps_of, prompts = job.writer.present(), job.writer.notes, job.prompts
    if not present <= steps_of.keys() or hosts.count() > 1:
        prompts = [prompt for prompt in prompts if prompt.problem_id not in present]
    if len(present) < len(job.prompts):
        log.say(f"sample {job.split}: {job.plan}")
        done = len(present) * job.samples
        progress = log.Progress(
            len(job.prompts) * job.samples, "solution", f"sample {job.split}", done=done
        )
        engine = Engine(*generator.loaded[:2], job.config, run.config.seed, generator.mesh)
        with progress, stopping.saving():
            drawn = engine.run(
                prompts,
                job.samples,
                job.plan,
                _Shown(progress),
                hosts.claims(f"sample {job.writer.folder}"),
                steps_of,
            )
            _write(
                job.writer,
                (
                    [_sample_row(each, generator.id, run.config.seed) for each in completions]
                    for completions in drawn
                ),
            )
    _finish(job.writer, {"left_out": job.left_out})


def _sample_row(completion: Any, generator: str, seed: int) -> dict[str, Any]:
    # not dataclasses.asdict, whose deep copy of every token took a third of sampling
    row = dict(vars(completion))
    row["solution"] = row.pop("text")
    return row | {"generator": generator, "seed": seed}


class _Generator:
    """The run's generator, which is not read where all samples are there already."""

    def __init__(self, run: Run, mesh: Mesh | None) -> None:
        self._run, self.mesh = run, mesh
        self.id = workdir.manifest_of(run.dir.generator, "finetune")["id"]

    @functools.cached_property
    def outline(self) -> model_folder.Saved:
        return model_folder.outline(
            self._run.dir.generator, "finetune", self._run.config.model.dtype
        )

    def planner(self, config: config_lib.SampleConfig) -> Planner:
        """What is planned with before anything is read."""
        model, tokenizer, _ = self.outline
        if self.mesh is not None:
            sharding.check(model.arch, self.mesh)
        return Planner(
            model.arch, steps.outline(model, tokenizer.vocab_size, self.mesh), config, self.mesh
        )

    @functools.cached_property
    def loaded(self) -> model_folder.Saved:
        found = model_folder.load(
            self._run.dir.generator,
            "finetune",
            self._run.config.model.dtype,
            self.mesh,
            sharding.DECODING,
        )
        steps.make_ready(found.model, found.tokenizer.vocab_size, self.mesh)
        return found


class _Shown:
    """Shows how an engine is getting on."""

    def __init__(self, progress: log.Progress) -> None:
        self._progress, self._begun, self._ended = progress, time.monotonic(), 0

    def __call__(self, counts: Counts) -> None:
        _stop_if_asked(self._progress)
        if counts.steps % SHOWN_EVERY and counts.solutions == self._ended:
            return
        seconds = max(time.monotonic() - self._begun, 1e-9)
        asked = counts.answered + counts.refused
        self._progress.advance(
            counts.solutions - self._ended,
            solutions_per_second=counts.solutions / seconds,
            tokens_per_second=counts.tokens / seconds,
            # none while steps are gone over again
            slots_used=f"{counts.tokens / counts.slot_steps:.0%}" if counts.slot_steps else "-",
            calculator_answers=f"{counts.answered / asked:.0%}" if asked else "-",
        )
        self._ended = counts.solutions


def _counted(
    groups: Iterable[list[dict[str, Any]]], progress: log.Progress
) -> Iterator[list[dict[str, Any]]]:
    for rows in groups:
        _stop_if_asked(progress)
        progress.advance(len(rows))
        yield rows


def _stop_if_asked(progress: log.Progress) -> None:
    if stopping.asked():
        raise errors.Stopped(
            f"{progress.description} at {progress.done:,} of {progress.total:,} {progress.unit}s"
        )


def _writer(folder: pathlib.Path, table: str, own: dict[str, Any]) -> store.TableWriter:
    """A table that all processes write, each its own parts."""
    processes = jax.process_index(), jax.process_count()
    return hosts.in_turn(str(folder), lambda: store.TableWriter(folder, table, own, *processes))


def _finish(writer: store.TableWriter, manifest: dict[str, Any]) -> None:
    """Ends a table once all processes have written theirs."""
    hosts.wait(f"{writer.folder} written")
    if hosts.is_first():
        writer.finish({"seconds": writer.seconds(), **manifest})
    hosts.wait(f"{writer.folder} finished")


def _write(writer: store.TableWriter, groups: Iterable[list[dict[str, Any]]]) -> None:
    """Appends whole problems, many to a part."""
    waiting: list[dict[str, Any]] = []
    written = time.monotonic()
    try:
        for rows in groups:
            waiting += rows
            if len(waiting) >= PART_ROWS or time.monotonic() - written >= PART_SECONDS:
                writer.append(waiting)
                waiting, written = [], time.monotonic()
    except errors.Stopped:
        writer.append(waiting)
        raise
    writer.append(waiting)


def _solutions(
    run: Run, split: str, prompts: dict[str, list[int]], reader: Tokenizer, as_text: bool
) -> list[Solutions]:
    """The stored samples of a split, problem by problem, as `Run.samples` reads them."""
    rows = run.samples(split, reader, as_text).drop_columns(["forced"]).to_pylist()
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["problem_id"], []).append(row)
    return [
        Solutions(
            key, prompts[key], [row["sample_id"] for row in group], [row["tokens"] for row in group]
        )
        for key, group in grouped.items()
    ]
