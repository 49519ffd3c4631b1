"""Job (a): solutions a second with real stopping, this project with its calculator on, beside
transformers and llama.cpp.

    python -m benchmarks.sampling --model=runs/NAME/generator --peer-python=PEERS/bin/python

Every contender draws the same number of solutions of the same GSM8K test prompts at temperature 0.7
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
    "verifier-no-calculator",
    "transformers",
    "transformers-continuous",
    "llama.cpp",
]
WARM_UP_TOKENS = 4


def contenders(
    setting: flags_lib.Setting, usual: Sequence[str], keep: pathlib.Path | None
) -> list[Contender]:
    """The chosen ones. `keep`: where the solutions of the project's last round go."""
    kept = {"keep": str(keep)} if keep else {}
    make: dict[str, Callable[[str], Contender]] = {
        "verifier": lambda name: setting.ours(name, {"calculator": True, **kept}),
        "verifier-no-calculator": lambda name: setting.ours(name, {"calculator": False}),
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
    return [make[name](name) for name in setting.chosen(list(usual), list(make))]


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
    found: Mapping[str, dict[str, Any]], least: Callable[[list[list[int]]], needed.Needed]
) -> dict[str, dict[str, Any]]:
    """Adds to every run its rates and what it needed at the least; lists of lengths give way to
    their summary.
    """
    for contender in found.values():
        for run in [contender[slot] for slot in ("warm_up",) if slot in contender] + contender[
            "runs"
        ]:
            lengths, _ = run.pop("lengths"), run.pop("first")
            tokens = [length for each in lengths for length in each]
            run |= {
                "solutions": len(tokens),
                "tokens": sum(tokens),
                "length": results.summary(tokens),
            }
            run |= {
                "solutions_per_second": len(tokens) / run["seconds"],
                "tokens_per_second": sum(tokens) / run["seconds"],
            }
            if len(lengths) > 1 or run in contender["runs"]:
                run["needed"] = least(lengths)._asdict()
        for rate in ("solutions_per_second", "tokens_per_second"):
            if contender["runs"]:
                contender[rate] = results.summary([run[rate] for run in contender["runs"]])
    return dict(found)


def ratios(found: Mapping[str, dict[str, Any]], ours: str, figure: str) -> dict[str, Any]:
    """This project over every peer that has gone through all rounds."""
    if ours not in found or "error" in found[ours]:
        return {}
    mine = [run[figure] for run in found[ours]["runs"]]
    others = [
        name
        for name, each in found.items()
        if not name.startswith("verifier") and "error" not in each
    ]
    return {
        name: results.ratio(mine, [run[figure] for run in found[name]["runs"]]) for name in others
    }


def measured(
    setting: flags_lib.Setting, taking_part: Sequence[Contender], end_id: int | None
) -> dict[str, Any]:
    """Runs the comparison that the flags ask for."""
    flags = setting.flags
    asked = workload.questions(
        workload.gsm8k(setting.gsm8k, "test"), setting.tokenizer, flags.problems
    )
    entry = 4 if flags.dtype == "float32" else 2
    sizes = needed.sizes_of(setting.model)

    def least(lengths: list[list[int]]) -> needed.Needed:
        prompts = [len(each.prompt) for each in asked[: len(lengths)]]
        return needed.sampling(sizes, prompts, lengths, entry)

    planned = plan(asked, flags.samples, flags.max_new_tokens, flags.temperature, end_id)
    found = with_rates(compare(taking_part, planned, flags.rounds, setting.environment), least)
    facts = {
        "problems": flags.problems,
        "samples": flags.samples,
        "max_new_tokens": flags.max_new_tokens,
    }
    prompts = results.summary([len(each.prompt) for each in asked])
    return {
        **setting.facts(),
        **facts,
        "temperature": flags.temperature,
        "prompt_tokens": prompts,
        "contenders": found,
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
    found = measured(setting, contenders(setting, USUAL, kept(setting)), setting.tokenizer.end_id)
    found["ratios"] = ratios(found["contenders"], "verifier", "solutions_per_second")
    results.write("sampling", setting.threads, found, setting.flags.results)


if __name__ == "__main__":
    flags_lib.guarded(main)
