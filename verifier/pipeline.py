"""The stages of a run, in their order; each meets the next only through tables and model folders. The two that train are in training.py."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from verifier import config as config_lib
from verifier import log, saved, training, workdir
from verifier.data import store
from verifier.decode import memory, steps
from verifier.decode.engine import Counts, Engine, Planner, Prompt
from verifier.evaluate import graders
from verifier.evaluate import report as report_lib
from verifier.evaluate.score import Solutions, score_samples
from verifier.run import Run
from verifier.text.problem import Problem

PART_ROWS = 4096  # rows of a table that wait to be written as one part, or as many as come in PART_SECONDS: what a kill can cost
PART_SECONDS = 60.0
SHOWN_EVERY = 16  # steps between two looks at a job in which no solution ended


def sample(run: Run) -> None:
    """Draws solutions of every split's problems, and one greedy solution of every test problem."""
    found = run.problems()
    config = run.config.sample
    generator = _Generator(run)
    train = found["train"][: config.train_problems or None]
    asked = [("train", train, config, config.train_samples)]
    asked += [(split, found[split], config, getattr(config, f"{split}_samples")) for split in ("heldout", "test")]
    if config.greedy:
        asked.append((workdir.GREEDY, found["test"], dataclasses.replace(config, temperature=0.0), 1))
    # All are planned before the generator is read: what does not fit is said at once, not after hours.
    jobs = [job for each in asked if (job := _sample_job(run, generator, *each)) is not None]
    for job in jobs:
        _sample_split(run, generator, job)


def label(run: Run) -> None:
    """Judges every stored solution by its final answer."""
    gold = {each.problem_id: each.answer for part in run.problems().values() for each in part}
    for split in _sampled_splits(run):
        folder = run.dir.table("labels", split)
        judged = {"samples": run.table_id("samples", split), "problems": run.table_id("problems", split.removesuffix("_greedy"))}
        own = workdir.settings(run.config, "label") | judged
        if run.finished(f"label {split}", folder, own):
            continue
        begun = time.monotonic()
        rows = store.read_table(run.dir.table("samples", split), "samples", ["problem_id", "sample_id", "solution"])
        grader, keys = run.config.label.grader, rows["problem_id"].to_pylist()
        answers, correct = graders.relabel(rows["solution"].to_pylist(), [gold[key] for key in keys], grader)
        columns = [rows["problem_id"], rows["sample_id"], pa.array(answers, pa.string()), pa.array(correct), pa.array([grader] * len(keys))]
        writer = store.TableWriter(folder, "labels", own)
        if not writer.present():  # one part holds all: a run killed after it has only the manifest to write
            writer.append(pa.Table.from_arrays(columns, schema=store.SCHEMAS["labels"]))
        writer.finish({"seconds": time.monotonic() - begun})
        log.say(f"label {split}: {correct.sum():,} of {len(keys):,} solutions are right ({correct.mean():.1%})")


def score(run: Run) -> None:
    """Lets the verifier read the stored samples of held-out and test problems."""
    manifest = workdir.manifest_of(run.dir.verifier, "verify")
    verifier: saved.Saved | None = None  # not read where all tables are done
    found = run.problems()
    squash = manifest["settings"]["verify.value_loss"] == "bce"
    for split in ("heldout", "test"):
        run.check_generator(split, manifest["generator"])
        own = workdir.settings(run.config, "score") | {"verifier": manifest["id"], "samples": run.table_id("samples", split)}
        folder = run.dir.table("scores", split)
        if run.finished(f"score {split}", folder, own):
            continue
        begun = time.monotonic()
        verifier = verifier or saved.load(run.dir.verifier, "verify", run.config.model.dtype)
        writer = store.TableWriter(folder, "scores", own)
        prompts = {each.problem_id: run.prompt_ids(each, verifier.tokenizer) for each in found[split]}
        present = writer.present()
        waiting = [each for each in _solutions(run, split, prompts) if each.problem_id not in present]
        progress = log.Progress(sum(len(each.tokens) for each in waiting), "solution", f"score {split}")
        with progress:
            scored = score_samples(verifier.model, waiting, run.config.score, verifier.id, squash)
            _write(writer, _counted(scored, progress))
        writer.finish({"seconds": time.monotonic() - begun})


def report(run: Run) -> None:
    """Turns the tables into metrics.json and the page."""
    report_lib.write_report(run.dir.root, run.dir.report, run.config.report, run.config.seed)


STAGES: dict[str, Callable[[Run], None]] = {
    "finetune": training.finetune,
    "sample": sample,
    "label": label,
    "verify": training.verify,
    "score": score,
    "report": report,
}


def check_stages(names: Sequence[str] | None) -> list[str]:
    """The stages to run, in the pipeline's order; None: all.

    Raises:
        ConfigError: a name that is no stage.
    """
    if names is not None and not names:
        raise config_lib.ConfigError(f"--stages is empty; leave it out for all, or name some of {', '.join(STAGES)}")
    for name in names or ():
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise config_lib.ConfigError(f"--stages: there is no stage {name!r}{hint}. All:  {', '.join(STAGES)}")
    return [name for name in STAGES if names is None or name in names]


def run(config: config_lib.Config, root: pathlib.Path, stages: Sequence[str]) -> None:
    """Runs stages one after the other and prints the results.

    Args:
        config: checked (`config.check`).
        root: the workdir; made where it is missing, gone on with where it holds results of the same settings.
        stages: names from STAGES, in order.

    Raises:
        UserError: of any room, with a message that says what to do.
    """
    for line in config_lib.warnings(config):
        log.say(f"warning: {line}")
    this = Run(config, workdir.Workdir(root))
    workdir.refuse_other_settings(this.dir, config)
    workdir.save_config(this.dir, config)
    for name in stages:
        log.say(f"== {name}")
        STAGES[name](this)
    if "report" in stages:
        metrics = this.dir.report / "metrics.json"
        print(report_lib.results_table(json.loads(metrics.read_text())))
        print(f"\npage     {this.dir.report / 'index.html'}\nmetrics  {metrics}")


class _SampleJob(NamedTuple):
    """One split to be drawn, or to be gone on with."""

    split: str
    writer: store.TableWriter
    config: config_lib.SampleConfig
    waiting: list[Prompt]
    samples: int
    plan: memory.Plan | None  # None: nothing waits
    left_out: list[str]


def _sample_job(
    run: Run, generator: _Generator, split: str, found: Sequence[Problem], config: config_lib.SampleConfig, samples: int
) -> _SampleJob | None:
    """What is missing of one split's samples; None: nothing."""
    folder = run.dir.table("samples", split)
    asked = {"generator": generator.id, "problems": run.table_id("problems", split.removesuffix("_greedy"))}
    own = workdir.settings(run.config, "sample", split) | asked
    if not found or run.finished(f"sample {split}", folder, own):
        return None
    writer = store.TableWriter(folder, "samples", own)
    planner = generator.planner(config)
    prompts = [Prompt(each.problem_id, run.prompt_ids(each, generator.outline.tokenizer)) for each in found]
    fitting, too_long = planner.split(prompts)
    for prompt in too_long:
        log.say(f"sample {split}: problem {prompt.problem_id} is left out: its prompt has {len(prompt.tokens)} tokens, of {planner.room}")
    if not fitting:
        raise config_lib.ConfigError(f"sample {split}: no prompt fits; lower sample.max_new_tokens or raise model.context")
    present = writer.present()
    waiting = [prompt for prompt in fitting if prompt.problem_id not in present]
    plan = planner.plan(waiting, samples) if waiting else None
    return _SampleJob(split, writer, config, waiting, samples, plan, [prompt.problem_id for prompt in too_long])


def _sample_split(run: Run, generator: _Generator, job: _SampleJob) -> None:
    """Draws what is missing of one split's samples."""
    begun = time.monotonic()
    if job.waiting:
        log.say(f"sample {job.split}: {job.plan}")
        done = len(job.writer.present()) * job.samples
        progress = log.Progress(len(job.waiting) * job.samples + done, "solution", f"sample {job.split}", done=done)
        engine = Engine(*generator.loaded[:2], job.config, run.config.seed)
        with progress:
            drawn = engine.run(job.waiting, job.samples, job.plan, _Shown(progress))
            _write(job.writer, ([_sample_row(each, generator.id, run.config.seed) for each in completions] for completions in drawn))
    job.writer.finish({"seconds": time.monotonic() - begun, "left_out": job.left_out})


def _sample_row(completion: Any, generator: str, seed: int) -> dict[str, Any]:
    row = dict(vars(completion))  # not dataclasses.asdict, whose deep copy of every token took a third of sampling
    row["solution"] = row.pop("text")
    return row | {"generator": generator, "seed": seed}


class _Generator:
    """The run's generator, which is not read where all samples are there already."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.id = workdir.manifest_of(run.dir.generator, "finetune")["id"]

    @functools.cached_property
    def outline(self) -> saved.Saved:
        return saved.outline(self._run.dir.generator, "finetune", self._run.config.model.dtype)

    def planner(self, config: config_lib.SampleConfig) -> Planner:
        """What is planned with before anything is read."""
        weights = steps.outline(self.outline.model, self.outline.tokenizer.vocab_size)
        return Planner(self.outline.model.arch, weights, config)

    @functools.cached_property
    def loaded(self) -> saved.Saved:
        found = saved.load(self._run.dir.generator, "finetune", self._run.config.model.dtype)
        steps.make_ready(found.model, found.tokenizer.vocab_size)
        return found


class _Shown:
    """Shows how an engine is getting on."""

    def __init__(self, progress: log.Progress) -> None:
        self._progress, self._begun, self._ended = progress, time.monotonic(), 0

    def __call__(self, counts: Counts) -> None:
        if counts.steps % SHOWN_EVERY and counts.solutions == self._ended:
            return
        seconds = max(time.monotonic() - self._begun, 1e-9)
        asked = counts.answered + counts.refused
        self._progress.advance(
            counts.solutions - self._ended,
            solutions_per_second=counts.solutions / seconds,
            tokens_per_second=counts.tokens / seconds,
            slots_used=f"{counts.tokens / counts.slot_steps:.0%}",
            calculator_answers=f"{counts.answered / asked:.0%}" if asked else "-",
        )
        self._ended = counts.solutions


def _counted(groups: Iterable[list[dict[str, Any]]], progress: log.Progress) -> Iterator[list[dict[str, Any]]]:
    for rows in groups:
        progress.advance(len(rows))
        yield rows


def _write(writer: store.TableWriter, groups: Iterable[list[dict[str, Any]]]) -> None:
    """Appends whole problems, many to a part."""
    waiting: list[dict[str, Any]] = []
    written = time.monotonic()
    for rows in groups:
        waiting += rows
        if len(waiting) >= PART_ROWS or time.monotonic() - written >= PART_SECONDS:
            writer.append(waiting)
            waiting, written = [], time.monotonic()
    writer.append(waiting)


def _solutions(run: Run, split: str, prompts: dict[str, list[int]]) -> list[Solutions]:
    """The stored samples of a split, problem by problem."""
    rows = store.read_table(run.dir.table("samples", split), "samples", ["problem_id", "sample_id", "tokens"]).to_pylist()
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["problem_id"], []).append(row)
    return [
        Solutions(key, prompts[key], [row["sample_id"] for row in group], [row["tokens"] for row in group])
        for key, group in grouped.items()
    ]


def _sampled_splits(run: Run) -> list[str]:
    splits = [split for split in (*workdir.SPLITS, workdir.GREEDY) if store.read_manifest(run.dir.table("samples", split))]
    if not splits:
        workdir.manifest_of(run.dir.table("samples", "test"), "sample")  # says what is missing
    return splits
