"""What a verifier's tokens are valued at, one choice at a time, on generated problems: one
generator, its samples and their rollouts, a verifier for each.

Command:  python -m verifier.launch --exp=sweep:tiny_labels:labels --seeds=0,1,2
          (leave out :labels for all themes)
          python -m verifier.launch --exp=tiny_labels  (the base alone: labels are outcomes)
          --set verify.samples_per_problem=4 verify.steps=247 --workdir=FOLDER  gives all of them
          fewer samples in as many steps
Hardware: 2 CPU cores, 4 GiB. Some 4 minutes a seed for the base, 2 or 3 for the rollouts and for
          each further verifier
Out:      runs/tiny_labels/compare/THEME/comparison.json, and the table
Expect:   see "What a verifier's tokens are valued at" in docs/results.md
Equal:    generator, samples, optimiser steps, the order of the batches, the fresh head
Unequal:  what labels cost: `prefix` nothing, `hard`, `soft` and `first_error` the rollouts.
          `first_error` has no label behind a wrong solution's first error, so fewer tokens of wrong
          solutions are learned from; verify says how many. Its paper (SCAN, arXiv 2509.16548)
          also keeps problems that are mostly solved alone, and as many right as wrong solutions:
          not done here

labels        a label at every token: the outcome (Cobbe et al. 2021), the share of right ones among
              the samples that begin alike (`prefix`; TVM, arXiv 2407.12863), or of the rollouts
              from the step's end, whether there is any (`hard`) or how many (`soft`; Math-Shepherd,
              arXiv 2312.08935), or up to the first step that nothing right goes on from
step_ends     the same at the steps' last tokens alone, as those papers of step labels have it;
              `outcome_at_end` at the solution's last token
aggregations  a solution's score is the minimum (Math-Shepherd) or the product (Lightman et al.
              2023) of its values: here over tokens, each of which has its step's label. No verifier
              is trained for it that `labels` has not
"""

import dataclasses

from experiments import tiny_token_verifier
from verifier.config import Config, RolloutsConfig

STEP_LABELS = ("hard", "soft", "first_error")  # which need rollouts


def get_config() -> Config:
    """The demo with fewer samples: of 14 a training problem the steps are rolled out."""
    tiny = tiny_token_verifier.get_config()
    return dataclasses.replace(
        tiny,
        name="tiny_labels",
        sample=dataclasses.replace(tiny.sample, train_samples=14, test_samples=64),
        rollouts=RolloutsConfig(number=8),
        verify=dataclasses.replace(tiny.verify, batch_rows=10, group=1),
    )


def get_sweep() -> dict[str, dict[str, list[str]]]:
    """Assignments to the base, by theme and variant."""
    labels = {name: [f"verify.labels={name}"] for name in ("prefix", *STEP_LABELS)}
    outcome: dict[str, list[str]] = {"outcome": []}
    at_ends = "verify.level=solution"
    return {
        "labels": labels,
        "step_ends": {
            "outcome_at_end": [at_ends],
            **{f"{name}_at_ends": [*labels[name], at_ends] for name in STEP_LABELS},
        },
        "aggregations": {
            f"{name}_{how}": [*assignments, f"report.aggregation={how}"]
            for name, assignments in {**outcome, **labels}.items()
            for how in ("min", "product")
        },
    }
