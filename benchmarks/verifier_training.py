"""Job (h): labelled samples a second in the verifier's training, ground truth beside them, this
project beside an earlier state of it and beside a packed torch loop.

    python -m benchmarks.verifier_training --model=RUN/generator --exp=NAME --set=... \\
        --before=CHECKOUT --peer-python=PEERS/bin/python

RUN is a workdir whose training and held-out samples are labelled; --exp and --set are what it was
made with. This project's contenders are the stage `verify` as a user launches it, in a workdir that
lacks it alone, killed after a few steps; torch takes the same samples and ground truth in packed
rows under a block-diagonal mask. All have --rows x --row-tokens tokens a step and the same
optimiser. Samples a second are those of a step, on the average of the whole job, over the seconds
of a step after the first few. In bfloat16 weights stay float32, this project computes in bfloat16
and torch under autocast. Each measurement has a process of its own, as in benchmarks.training.
"""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import flags as flags_lib
from benchmarks import needed, results, workload
from benchmarks.contenders import Contender
from benchmarks.rounds import Plan, compare
from verifier.config import VerifyConfig
from verifier.data import batches
from verifier.system import allocator
from verifier.tables import store
from verifier.tasks import sources
from verifier.text.problem import Template
from verifier.text.tokenizer import Tokenizer
from verifier.train.losses import value

USUAL = [
    "verifier",
    "verifier-bfloat16",
    flags_lib.BEFORE,
    "torch-packed",
    "torch-packed-bfloat16",
]
SEED = 0
# Steps: on a CPU a job gives free memory back after each of its first three, until the scratch of a
# step has found a place of its own.
WARM_UP = 4


class Group(NamedTuple):
    """A problem with its labelled samples."""

    prompt: list[int]
    samples: list[list[int]]
    forced: list[list[bool]]
    correct: list[bool]
    truth: list[int]  # the worked solution
    by_calculator: list[bool]  # which of its tokens the calculator would write


def groups_of(run: pathlib.Path, tokenizer: Tokenizer) -> list[Group]:
    """The training samples of a run, by problem."""
    keys = ["problem_id", "sample_id"]
    tables = run / "tables"
    samples = store.read_table(
        tables / "samples/split=train", "samples", [*keys, "tokens", "forced"]
    )
    labels = store.read_table(tables / "labels/split=train", "labels", [*keys, "correct"])
    right = {(row["problem_id"], row["sample_id"]): row["correct"] for row in labels.to_pylist()}
    problems = sources.problems_from_table(
        store.read_table(tables / "problems/split=train", "problems")
    )
    found: dict[str, Group] = {}
    by_id = {each.problem_id: each for each in problems}
    for row in samples.to_pylist():
        name = row["problem_id"]
        if name not in found:
            prompt, truth, by_calculator = batches.encode_problem(
                by_id[name], tokenizer, Template()
            )
            found[name] = Group(prompt, [], [], [], truth, by_calculator)
        group = found[name]
        group.samples.append(row["tokens"])
        group.forced.append(row["forced"])
        group.correct.append(right[name, row["sample_id"]])
    return list(found.values())


def packed(groups: Sequence[Group], vocab_size: int, rows: int, row_tokens: int) -> Any:
    """The samples and ground truth of an epoch, in equal parts, as rows of one text after the
    other.
    """
    samples = [
        batches.verifier_example(
            group.prompt,
            tokens,
            forced,
            correct,
            level="token",
            normalise="tokens",
            loss_on_forced=True,
        )
        for group in groups
        for tokens, forced, correct in zip(group.samples, group.forced, group.correct, strict=True)
    ]
    truth = [
        batches.lm_example(
            group.prompt,
            group.truth,
            group.by_calculator,
            loss_on_question=False,
            loss_on_forced=True,
        )
        for group in groups
    ]
    spec = batches.BatchSpec(rows, row_tokens, value.loss(vocab_size).targets)
    return batches.BatchStream(batches.mix(samples, truth, SEED), SEED, spec)


def contenders(setting: flags_lib.Setting, work: str) -> list[Contender]:
    """The chosen ones; `work`: the folder for workdirs."""
    flags = setting.flags
    knobs = {
        "epochs": 1,
        "steps": 0,
        "batch_rows": flags.rows,
        "row_tokens": flags.row_tokens,
        "accumulate": 1,
        "dropout": 0,
        "checkpoint_minutes": 0,
        "learning_rate": 1e-5,
    }

    def launched(name: str, *more: str) -> Contender:
        dtype = setting.dtype(name)
        settings = [*(f"verify.{knob}={number}" for knob, number in knobs.items()), *flags.set]
        load = {
            "workdir": str(flags.model.resolve().parent),
            "experiment": flags.exp,
            "settings": [*settings, *more],
            "dtype": dtype,
            "root": str(setting.checkout(name)),
            "work": work,
        }
        return Contender(name, "verify_worker", setting.own_python, load, dtype=dtype)

    def loop(name: str) -> Contender:
        job = {"rows": str(setting.cache / "verify-rows.npz"), "first": 0}
        job["autocast"] = setting.dtype(name) == "bfloat16"
        return setting.torch(name, "torch_verify_worker", job, "float32")

    make: dict[str, Callable[[str], Contender]] = {
        "verifier": lambda name: launched(name, f"verify.group={flags.group}"),
        "verifier-apart": lambda name: launched(name, "verify.group=1"),
        flags_lib.BEFORE: launched,
        "torch-packed": loop,
    }
    return setting.chosen(USUAL, make)


def summarised(
    found: Mapping[str, dict[str, Any]], samples: int, packed_steps: int, flops: float
) -> dict[str, dict[str, Any]]:
    """Adds rates and the least work.

    Args:
        found: by contender.
        samples: of the whole job.
        packed_steps: that it takes where each text stands for itself.
        flops: the least of the whole job.
    """
    for contender in found.values():
        for run in contender["runs"]:
            share = run["steps"] / run.get("steps_in_all", packed_steps)  # of the job
            run["samples"] = share * samples
            run["samples_per_second"] = run["samples"] / run["seconds"]
            run["needed"] = needed.Needed(share * flops, 0.0)._asdict()
        if contender["runs"]:
            contender["samples_per_second"] = results.summary(
                [run["samples_per_second"] for run in contender["runs"]]
            )
    return dict(found)


def main() -> None:
    """Measures and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument("--exp", default="gsm8k_token_verifier", help="experiment of the run")
    parser.add_argument(
        "--group",
        type=int,
        default=VerifyConfig().group,
        help="verify.group of this project: samples of a tree, 0: all of a problem",
    )
    parser.add_argument("--rows", type=int, default=1, help="rows a step")
    parser.add_argument("--row-tokens", type=int, default=1024, help="tokens of a row")
    parser.add_argument("--steps", type=int, default=3, help="steps a measurement")
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    groups = groups_of(flags.model.resolve().parent, setting.tokenizer)
    stream = packed(groups, setting.tokenizer.vocab_size, flags.rows, flags.row_tokens)
    steps_in_all = len(stream)
    taken = [next(stream) for _ in range(min(max(flags.steps, WARM_UP), steps_in_all))]
    workload.write_rows(setting.cache / "verify-rows.npz", taken)
    sizes = needed.sizes_of(setting.model)
    least = sum(
        needed.verifier_training(sizes, len(each.prompt), each.samples, each.truth).flops
        for each in groups
    )
    samples = sum(len(each.samples) for each in groups)
    tokens = sum(len(text) for each in groups for text in each.samples)
    distinct = sum(needed.prefixes(each.samples).nodes for each in groups)
    plan = Plan("verify", lambda turn: {"steps": flags.steps}, lambda: {"steps": WARM_UP})
    environment = {**setting.environment, **allocator.variables(allocator.KEEPING)}
    with tempfile.TemporaryDirectory() as work:
        compared = compare(contenders(setting, work), plan, flags.rounds, environment, apart=True)
    found = summarised(compared, samples, steps_in_all, least)
    facts = {
        "rows": flags.rows,
        "row_tokens": flags.row_tokens,
        "steps": flags.steps,
        "group": flags.group,
        "problems": len(groups),
        "samples": samples,
        "samples_a_problem": results.summary([len(each.samples) for each in groups]),
        "prompt_tokens": results.summary([len(each.prompt) for each in groups]),
        "solution_tokens": results.summary([len(text) for each in groups for text in each.samples]),
        "tokens": tokens,
        "distinct_prefixes": distinct,
        "correct": float(np.mean([right for each in groups for right in each.correct])),
    }
    ratios = results.compared(found, "samples_per_second")
    results.write(
        "verifier_training",
        setting.threads,
        {**setting.facts(), **facts, "contenders": found, **ratios},
        flags.results,
    )


if __name__ == "__main__":
    flags_lib.guarded(main)
