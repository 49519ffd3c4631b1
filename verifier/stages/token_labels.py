"""What each token of a labelled sample is to be valued at: the outcome, or what is known of its
prefix or its step.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from verifier.data import prefix_labels, step_labels
from verifier.errors import UserError
from verifier.run.context import Context
from verifier.tables import store


def of_samples(
    context: Context, rows: pa.Table, kept: Sequence[int], correct: np.ndarray
) -> Sequence[Any] | np.ndarray:
    """The labels of the training samples, as `examples.verifier_example` takes one.

    Args:
        context: of the stage `verify`.
        rows: problem_id, sample_id and tokens of all.
        kept: the rows that are learned from.
        correct: of each of these, bool.
    """
    kind = context.config.verify.labels
    if kind == "outcome":
        return correct
    samples = rows.take(pa.array(kept))
    problem_ids = samples["problem_id"].to_pylist()
    tokens = [np.asarray(each.values) for each in samples["tokens"]]
    if kind == "prefix":
        return prefix_labels.shares(tokens, problem_ids, correct)
    return _by_step(context, kind, samples, [len(each) for each in tokens], correct)


def _by_step(
    context: Context, kind: str, samples: pa.Table, lengths: Sequence[int], correct: np.ndarray
) -> list[np.ndarray]:
    """Labels of steps out of rollouts.

    Raises:
        UserError: a sample without rollouts.
    """
    context.refuse_stale("steps")
    table = store.read_table(context.source("steps"), "steps").sort_by(
        [("problem_id", "ascending"), ("sample_id", "ascending"), ("step", "ascending")]
    )
    steps: dict[tuple[str, int], list[dict[str, Any]]] = collections.defaultdict(list)
    for row in table.to_pylist():
        steps[row["problem_id"], row["sample_id"]].append(row)
    names = list(
        zip(samples["problem_id"].to_pylist(), samples["sample_id"].to_pylist(), strict=True)
    )
    right: dict[str, list[bool]] = collections.defaultdict(list)
    for (problem_id, _), one in zip(names, correct.tolist(), strict=True):
        right[problem_id].append(one)
    at_ends_alone = context.config.verify.level == "solution"
    labels = []
    for name, length, one in zip(names, lengths, correct.tolist(), strict=True):
        own = steps.get(name)
        if own is None:
            raise UserError(
                f"sample {name[1]} of problem {name[0]} has no rollouts; set "
                "verify.samples_per_problem to at most rollouts.samples_per_problem="
                f"{context.config.rollouts.samples_per_problem}"
            )
        *before, _ = own
        of_steps = step_labels.of_steps(
            kind,
            [row["rollouts"] for row in before],
            [row["hits"] for row in before],
            one,
            float(np.mean(right[name[0]])),
        )
        ends = [row["end_token"] for row in own]
        labels.append(step_labels.of_tokens(of_steps, ends, at_ends_alone, length))
    return labels
