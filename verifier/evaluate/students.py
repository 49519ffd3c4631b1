"""Students of several methods beside each other, at several sizes of what they learned from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from verifier.errors import DataError
from verifier.evaluate import caveats
from verifier.evaluate.choices import Right
from verifier.evaluate.intervals import Bootstrap
from verifier.evaluate.results_table import EXACT, cell


def figures(
    right: Mapping[tuple[str, float], Right], against: str, resamples: int, seed: int
) -> dict[str, Any]:
    """Accuracy of every student with 95% intervals, and paired differences.

    Args:
        right: by method and share of the training problems. Problems that were not put to one of
            them, whose prompts were too long, count for none.
        against: the method that others of the same share are held against, if it is there.
        resamples: of the bootstrap over problems.
        seed: of the bootstrap.

    Returns:
        "problems"; "students": of each its method, share, "accuracy" and, where there is something
        to hold it against, "minus_" and the method's name; "notes": what is suspicious of them.

    Raises:
        DataError: there is no problem that all were asked.
    """
    keys = sorted(set.intersection(*(set(own) for own in right.values())))
    if not keys:
        raise DataError(
            "there is no problem that all students were asked; raise model.context, or lower "
            "sample.max_new_tokens"
        )
    right_by = {name: np.array([own[key] for key in keys], float) for name, own in right.items()}
    drawn = Bootstrap.draw(len(keys), resamples, seed)
    named = {str(name): values_P for name, values_P in right_by.items()}
    accuracy = drawn.estimates(named)
    apart = drawn.differences(
        {
            str(name): values_P - right_by[against, name[1]]
            for name, values_P in right_by.items()
            if name[0] != against and (against, name[1]) in right_by
        }
    )
    students: list[dict[str, Any]] = [
        {
            "method": method,
            "share": share,
            "accuracy": accuracy[str((method, share))],
            f"minus_{against}": apart.get(str((method, share))),
        }
        for method, share in right
    ]
    told = (
        caveats.of_accuracy(
            f"{each['method']}, {each['share']:.1%} of train,", [each["accuracy"]["value"]]
        )
        for each in students
    )
    return {"problems": len(keys), "students": students, "notes": [note for note in told if note]}


def as_text(figures: Mapping[str, Any], split: str, against: str) -> str:
    """The figures of a split as plain text: a row a method, a column a share."""
    shares = list(dict.fromkeys(each["share"] for each in figures["students"]))
    methods = list(dict.fromkeys(each["method"] for each in figures["students"]))
    by_name = {(each["method"], each["share"]): each for each in figures["students"]}
    width = max(20, *(len(method) + 2 for method in methods))
    lines = [
        f"{split + ' (%)':<{width}}" + "".join(f"{f'{share:.1%} of train':<22}" for share in shares)
    ]
    for method in methods:
        own = [by_name.get((method, share), {}) for share in shares]
        lines.append(
            f"{method:<{width}}" + "".join(f"{cell(one.get('accuracy')):<22}" for one in own)
        )
        apart = [cell(one.get(f"minus_{against}"), signed=True) for one in own]
        if any(apart):
            lines.append(f"{'  - ' + against:<{width}}" + "".join(f"{one:<22}" for one in apart))
    lines.append(f"{figures['problems']:,} problems; 95% bootstrap, differences paired")
    lines += [EXACT] if any("*" in line for line in lines) else []
    lines += [f"note: {note}" for note in figures["notes"]]
    return "\n".join(line.rstrip() for line in lines)
