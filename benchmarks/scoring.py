"""Job (c): stored solutions scored a second, beside a padded torch forward of prompt and solution
each.

    python -m benchmarks.scoring --model=runs/NAME/generator --peer-python=PEERS/bin/python
    [--solutions=FILE]

All put the same linear value head on the same decoder. The torch loops read prompt and solution
whole, as a user writes them: batches in the order in which solutions are stored (the reference), or
in the order of their lengths. Values must agree: the greatest difference from the first contender's
is stored.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import flags as flags_lib
from benchmarks import needed, results, sampling, workload
from benchmarks.contenders import Contender
from benchmarks.rounds import Plan, compare

USUAL = [
    "verifier",
    "verifier-bfloat16",
    "torch",
    "torch-bfloat16",
    "torch-by-length",
    "torch-by-length-bfloat16",
]


def contenders(setting: flags_lib.Setting) -> list[Contender]:
    """The chosen ones."""
    batch = setting.flags.torch_batch
    make: dict[str, Callable[[str], Contender]] = {
        "verifier": lambda name: setting.ours(name, {}),
        flags_lib.BEFORE: lambda name: setting.ours(name, {}),
        "torch": lambda name: setting.torch(
            name, "torch_worker", {"batch": batch, "by_length": False}
        ),
        "torch-by-length": lambda name: setting.torch(
            name, "torch_worker", {"batch": batch, "by_length": True}
        ),
    }
    return setting.chosen(USUAL, make)


def summarised(
    found: Mapping[str, dict[str, Any]], drawn: workload.Drawn, least: needed.Needed
) -> dict[str, dict[str, Any]]:
    """Adds rates; the values themselves give way to their greatest difference from the first
    contender's.
    """
    solutions = sum(map(len, drawn.solutions))
    tokens = sum(len(text) for each in drawn.solutions for text in each)
    distinct = sum(needed.prefixes(each).nodes for each in drawn.solutions)
    reference: np.ndarray | None = None
    for contender in found.values():
        for run in contender["runs"]:
            values = np.array([value for each in run.pop("scores") for value in each])
            reference = values if reference is None else reference
            run |= {"solutions": solutions, "tokens": tokens, "distinct_prefixes": distinct}
            run |= {
                "needed": least._asdict(),
                "solutions_per_second": solutions / run["seconds"],
                "tokens_per_second": tokens / run["seconds"],
            }
            run["greatest_difference"] = float(np.abs(values - reference).max())
        contender.get("warm_up", {}).pop("scores", None)
        if contender["runs"]:
            contender["solutions_per_second"] = results.summary(
                [run["solutions_per_second"] for run in contender["runs"]]
            )
    return dict(found)


def value_head(setting: flags_lib.Setting, width: int) -> pathlib.Path:
    """A file with the kernel of a linear head, large enough that values differ from solution to
    solution.
    """
    path = setting.cache / f"head-{width}.npy"
    np.save(path, np.random.default_rng(0).standard_normal(width).astype(np.float32) / width**0.5)
    return path


def main() -> None:
    """Measures and writes the result."""
    parser = flags_lib.parser(__doc__)
    parser.add_argument("--problems", type=int, default=8)
    parser.add_argument("--samples", type=int, default=100, help="solutions a problem")
    parser.add_argument(
        "--solutions",
        type=pathlib.Path,
        help="file of solutions; empty: those that benchmarks.sampling has kept",
    )
    parser.add_argument(
        "--torch-batch", type=int, default=16, help="texts in a batch of the torch loops"
    )
    setting = flags_lib.Setting(parser.parse_args())
    flags = setting.flags
    drawn = workload.read_drawn(
        flags.solutions or sampling.kept(setting), flags.problems, flags.samples
    )
    sizes = needed.sizes_of(setting.model)
    lengths = [[len(text) for text in each] for each in drawn.solutions]
    prompts = [len(each.prompt) for each in drawn.questions]
    least = needed.scoring(sizes, prompts, drawn.solutions)
    asked = {
        "questions": drawn.questions,
        "solutions": drawn.solutions,
        "head": str(value_head(setting, sizes.width)),
    }
    first = {
        **asked,
        "questions": drawn.questions[:1],
        "solutions": [drawn.solutions[0][: flags.torch_batch]],
    }
    plan = Plan("score", lambda turn: asked, lambda: first)
    found = summarised(
        compare(contenders(setting), plan, flags.rounds, setting.environment), drawn, least
    )
    facts = {"problems": flags.problems, "samples": flags.samples, "torch_batch": flags.torch_batch}
    facts["solution_tokens"] = results.summary([length for each in lengths for length in each])
    facts["prompt_tokens"] = results.summary(prompts)
    compared = results.compared(found, "solutions_per_second")
    results.write(
        "scoring",
        setting.threads,
        {**setting.facts(), **facts, "contenders": found, **compared},
        flags.results,
    )


if __name__ == "__main__":
    flags_lib.guarded(main)
