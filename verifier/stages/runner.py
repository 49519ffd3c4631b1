"""The stages of a run, in their order; each meets the next only through tables and model folders.

The two that train are in training.py.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from verifier import config as config_lib
from verifier import errors
from verifier.config import checks as config_checks
from verifier.grading import corrections, graders
from verifier.report import writing as report_lib
from verifier.run import device_checks, hosts, workdir
from verifier.run.context import Run
from verifier.stages import solutions, training
from verifier.system import log, stopping
from verifier.tables import provenance, store


def label(run: Run) -> None:
    """Judges every stored solution by its final answer."""
    knobs, found = run.config.label, run.problems()
    for split in _sampled_splits(run):
        folder = run.dir.table("labels", split)
        asked = split.removesuffix(workdir.GREEDY_SUFFIX)
        provenance.refuse_stale(run.dir.root, split, ["samples"])
        made_from = {
            "samples": run.table_id("samples", split),
            "problems": run.table_id("problems", asked),
        }
        own = workdir.settings(run.config, "label") | made_from
        if run.finished(f"label {split}", folder, own):
            continue
        writer = store.TableWriter(folder, "labels", own)
        gold = {each.problem_id: each.answer for each in found[asked]}
        rows = store.read_table(
            run.dir.table("samples", split), "samples", ["problem_id", "sample_id", "solution"]
        )
        keys = rows["problem_id"].to_pylist()
        right, fixed = _right_answers(split, {key: gold[key] for key in keys}, knobs.fix_labels)
        judged = graders.relabel(
            rows["solution"].to_pylist(),
            [right[key] for key in keys],
            knobs.grader,
            knobs.grader_seconds,
        )
        answers, correct = pa.array(judged.answers, pa.string()), pa.array(judged.correct)
        columns = [
            rows["problem_id"],
            rows["sample_id"],
            answers,
            correct,
            pa.array([knobs.grader] * len(keys)),
        ]
        # one part holds all: a run killed after it has only the manifest to write
        if not writer.present():
            writer.append(pa.Table.from_arrays(columns, schema=store.SCHEMAS["labels"]))
        writer.finish(
            {"seconds": writer.seconds(), "not_graded": judged.not_graded, "fixed_labels": fixed}
        )
        log.say(
            f"label {split}: {judged.correct.sum():,} of {len(keys):,} solutions are right "
            f"({judged.correct.mean():.1%})"
        )
        for line in _doubts(split, knobs.grader, rows, judged, right):
            log.say(f"warning: label {line}")
        if judged.not_graded:
            log.say(
                f"label {split}: "
                f"{graders.given_up(judged.not_graded, knobs.grader, knobs.grader_seconds)}"
            )


def _doubts(
    split: str, grader: str, rows: pa.Table, judged: graders.Relabelled, right: dict[str, str]
) -> list[str]:
    """What makes a split's verdicts doubtful (`graders.findings`)."""

    def look(places: np.ndarray) -> graders.Solutions:
        chosen = rows.take(places)
        return chosen["solution"].to_pylist(), [
            right[key] for key in chosen["problem_id"].to_pylist()
        ]

    answered = np.fromiter(
        (answer is not None for answer in judged.answers), bool, len(judged.answers)
    )
    return graders.findings(split, grader, answered, not judged.correct.any(), right, look)


def _right_answers(
    split: str, gold: dict[str, str], fix_labels: bool
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The answers to judge by, and what was corrected in them, which is said."""
    if not fix_labels:
        return gold, []
    right, fixed = corrections.corrected(gold)
    log.say(f"label {split}: {len(fixed)} known-wrong gold answers are corrected")
    for each in fixed:
        log.say(
            f"  problem {each['problem_id']}: {each['new']}, not {each['old']} ({each['reason']})"
        )
    return right, fixed


def report(run: Run) -> None:
    """Turns the tables into metrics.json and the page."""
    report_lib.write_report(run.dir.root, run.dir.report, run.config.report, run.config.seed)


STAGES: dict[str, Callable[[Run], None]] = {
    "finetune": training.finetune,
    "sample": solutions.sample,
    "label": label,
    "verify": training.verify,
    "score": solutions.score,
    "report": report,
}
_BY_ONE = ("label", "report")  # work for one process; the others wait


def check_stages(names: Sequence[str] | None) -> list[str]:
    """The stages to run, in the pipeline's order; None: all.

    Raises:
        ConfigError: a name that is no stage.
    """
    if names is not None and not names:
        raise errors.ConfigError(
            f"--stages is empty; leave it out for all, or name some of {', '.join(STAGES)}"
        )
    for name in names or ():
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise errors.ConfigError(
                f"--stages: there is no stage {name!r}{hint}. All:  {', '.join(STAGES)}"
            )
    return [name for name in STAGES if names is None or name in names]


def run(config: config_lib.Config, root: pathlib.Path, stages: Sequence[str]) -> None:
    """Runs stages one after the other and prints the results.

    Args:
        config: checked (`config_checks.check`).
        root: the workdir; made where it is missing, gone on with where it holds results of the same
            settings.
        stages: names from STAGES, in order.

    Raises:
        UserError: of any room, with a message that says what to do.
    """
    for line in config_checks.warnings(config):
        log.say(f"warning: {line}")
    log.mirror_to_wandb(config.log.wandb)
    if "label" in stages:
        graders.check_grader(config.label.grader)  # before hours of sampling, not after
    this = Run(config, workdir.Workdir(root))
    with workdir.locked(this.dir) if hosts.is_first() else contextlib.nullcontext():
        _run(this, config, stages)
    if "report" in stages and hosts.is_first():
        metrics = this.dir.report / "metrics.json"
        table = report_lib.results_table(json.loads(metrics.read_text()))
        log.tell(f"{table}\n\npage     {this.dir.report / 'index.html'}\nmetrics  {metrics}")


def _run(this: Run, config: config_lib.Config, stages: Sequence[str]) -> None:
    """The stages, by all processes."""
    workdir.refuse_other_settings(this.dir, config)
    this.template()  # looked at before anything is made, as all that is read from elsewhere is
    left = [
        name
        for name in stages
        if not all(store.read_manifest(folder) for folder in this.dir.results(name).values())
    ]
    device_checks.check(config, left)
    if hosts.is_first():
        if list(stages) != ["report"]:
            # of all sources, further test sets included; written by one, read by all
            this.problems()
        workdir.save_config(this.dir, config)
    hosts.wait("problems")
    for name in stages:
        if stopping.asked() and hosts.count() == 1:
            raise errors.Stopped(f"before {name}")
        log.say(f"== {name}")
        stopping.say_what(name)
        if hosts.is_first() or name not in _BY_ONE:
            STAGES[name](this)
        hosts.wait(name)


def _sampled_splits(run: Run) -> list[str]:
    drawn = run.dir.results("sample", workdir.further_splits(run.config))
    splits = [split for split, folder in drawn.items() if store.read_manifest(folder)]
    if not splits:
        workdir.manifest_of(run.dir.table("samples", "test"), "sample")  # says what is missing
    return splits
