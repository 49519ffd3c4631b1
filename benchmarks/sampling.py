"""Job (a): solutions a second with real stopping, this project with its calculator on, beside
transformers and llama.cpp.

    python -m benchmarks.sampling --model=runs/NAME/generator --peer-python=PEERS/bin/python

Every contender draws the same number of solutions of the same test prompts at temperature 0.7
without top-k and top-p, ends at the end token or after --max-new-tokens, and has a seed of its own
each round. The solutions of this project are kept for benchmarks.scoring.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import flags as flags_lib
from benchmarks import needed, results, workload
from benchmarks.contenders import Contender
from benchmarks.rounds import Plan, compare

USUAL = [
    "verifier",
    "verifier-bfloat16",
    "transformers",
    "transformers-bfloat16",
    "transformers-continuous",
    "llama.cpp",
]
WARM_UP_TOKENS = 4
UNSHARED = "sample.share=false"  # every sample is written for itself
ENTRY_BYTES = {"float32": 4, "bfloat16": 2}


def contenders(
    setting: flags_lib.Setting,
    usual: Sequence[str],
    calculator: bool,
    keep: pathlib.Path | None = None,
) -> list[Contender]:
    """The chosen ones. `keep`: where the solutions of `verifier`'s last round go."""
    own = {"calculator": calculator}
    kept = {**own, "keep": str(keep)} if keep else own
    make: dict[str, Callable[[str], Contender]] = {
        "verifier": lambda name: setting.ours(name, kept if name == "verifier" else own),
        "verifier-no-calculator": lambda name: setting.ours(name, {"calculator": False}),
        "verifier-unshared": lambda name: setting.ours(name, own, UNSHARED),
        flags_lib.BEFORE: lambda name: setting.ours(name, own),
        "transformers": lambda name: setting.torch(name, "transformers_worker", {}),
        "transformers-continuous": lambda name: setting.torch(
            name, "transformers_worker", {"continuous": "needed"}
        ),
        "transformers-continuous-automatic": lambda name: setting.torch(
            name, "transformers_worker", {"continuous": "automatic"}
        ),
        "llama.cpp": lambda name: setting.llamacpp(name, True),
        "llama.cpp-split": lambda name: setting.llamacpp(name, False),
    }
    return setting.chosen(usual, make)


def plan(
    asked: Sequence[workload.Question],
    samples: int,
    limit: int,
    temperature: float,
    end_id: int | None,
) -> Plan:
    """The same drawing for all."""
    drawing = {
        "max_new_tokens": limit,
        "temperature": temperature,
        "end_id": end_id,
        "room": (max(len(each.prompt) for each in asked), limit),
    }
    short = {**drawing, "max_new_tokens": min(limit, WARM_UP_TOKENS)}
    return Plan(
        "sample",
        lambda turn: {"questions": asked, "samples": samples, "drawing": drawing, "seed": turn},
        lambda: {"questions": asked[:1], "samples": samples, "drawing": short, "seed": 0},
    )


def with_rates(
    found: Mapping[str, dict[str, Any]], prompts: Sequence[int], sizes: needed.Sizes
) -> dict[str, dict[str, Any]]:
    """Adds to every run its rates and what it needed at the least; the solutions give way to what
    is counted of them.

    Args:
        found: by contender, as `compare` gives it.
        prompts: tokens of each prompt.
        sizes: of the model.
    """
    for contender in found.values():
        contender.get("warm_up", {}).pop("solutions", None)
        for run in contender["runs"]:
            _count(run, prompts, sizes, ENTRY_BYTES[contender["dtype"]])
        for rate in ("solutions_per_second", "tokens_per_second"):
            if contender["runs"]:
                contender[rate] = results.summary([run[rate] for run in contender["runs"]])
    return dict(found)


def _count(
    run: dict[str, Any], prompts: Sequence[int], sizes: needed.Sizes, entry_bytes: int
) -> None:
    """Of one run; the worker of an earlier state may have told lengths instead of solutions, of
    which no prefixes are known.
    """
    solutions = run.pop("solutions", None)
    if solutions is not None:
        drawn = [needed.prefixes(each) for each in solutions]
        run["distinct_prefixes"] = sum(each.nodes for each in drawn)
        run["needed"] = needed.sampling(sizes, prompts, solutions, entry_bytes)._asdict()
        lengths = [len(text) for each in solutions for text in each]
    else:
        lengths = [length for each in run.pop("lengths") for length in each]
        run.pop("first")
    run |= {
        "solutions": len(lengths),
        "tokens": sum(lengths),
        "length": results.summary(lengths),
        "solutions_per_second": len(lengths) / run["seconds"],
        "tokens_per_second": sum(lengths) / run["seconds"],
    }


def measured(
    setting: flags_lib.Setting, taking_part: Sequence[Contender], end_id: int | None, rate: str
) -> dict[str, Any]:
    """Runs the comparison that the flags ask for; `rate` is the one that counts."""
    flags = setting.flags
    asked = workload.questions(setting.test_problems(), setting.tokenizer, flags.problems)
    prompts = [len(each.prompt) for each in asked]
    planned = plan(asked, flags.samples, flags.max_new_tokens, flags.temperature, end_id)
    found = with_rates(
        compare(taking_part, planned, flags.rounds, setting.environment),
        prompts,
        needed.sizes_of(setting.model),
    )
    return {
        **setting.facts(),
        "problems": flags.problems,
        "samples": flags.samples,
        "max_new_tokens": flags.max_new_tokens,
        "temperature": flags.temperature,
        "prompt_tokens": results.summary(prompts),
        "contenders": found,
        **results.compared(found, rate),
    }


def kept(setting: flags_lib.Setting) -> pathlib.Path:
    """Where this project's solutions of the last run with this model lie."""
    return setting.cache / f"solutions-{setting.model.name}.jsonl"


def drawing_flags(description: str | None, limit: int) -> argparse.ArgumentParser:
    """The flags of a job that draws."""
    parser = flags_lib.parser(description)
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--samples", type=int, default=100, help="solutions a problem")
    parser.add_argument("--max-new-tokens", type=int, default=limit)
    parser.add_argument("--temperature", type=float, default=0.7)
    return parser


def main() -> None:
    """Measures and writes the result."""
    setting = flags_lib.Setting(drawing_flags(__doc__, 256).parse_args())
    taking_part = contenders(setting, USUAL, True, kept(setting))
    end_id = setting.tokenizer.end_id
    found = measured(setting, taking_part, end_id, "solutions_per_second")
    results.write("sampling", setting.threads, found, setting.flags.results)


if __name__ == "__main__":
    flags_lib.guarded(main)
