"""How soon training jobs are where another one ends, by their held-out numbers on the way."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_HELDOUT = "heldout_"  # before the name of a term, in a job's log
# Behind the names of those that are no level to be reached: shares, and the sum that a job itself
# makes smaller, which is another one where variants have other losses.
_NO_LEVEL = ("_share", "_accuracy", f"{_HELDOUT}loss")


class Curve(NamedTuple):
    """A held-out number by optimiser steps."""

    steps: Sequence[int]
    values: Sequence[float]

    def reaches(self, level: float) -> int | None:
        """The steps after which it is at most `level` for the first time; None: it never is."""
        below = (step for step, value in zip(*self, strict=True) if value <= level)
        return next(below, None)


def read(path: pathlib.Path) -> dict[str, Curve]:
    """The held-out losses of a job's log, by term; none where there is no log.

    Args:
        path: a file of lines as `system.metric_log` writes them.
    """
    found: dict[str, tuple[list[int], list[float]]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        line: Mapping[str, Any] = json.loads(text)
        for name, value in line.items():
            if name.startswith(_HELDOUT) and not name.endswith(_NO_LEVEL) and value is not None:
                steps, values = found.setdefault(name.removeprefix(_HELDOUT), ([], []))
                steps.append(int(line["step"]))
                values.append(float(value))
    return {term: Curve(*both) for term, both in found.items()}


def compare(
    curves: Mapping[str, Mapping[int, Mapping[str, Curve]]], base: str
) -> dict[str, dict[str, dict[str, Any]]]:
    """What every variant has come to, and when it was where the base ends.

    Args:
        curves: of a job, by variant, seed and term.
        base: the variant that the others are held against.

    Returns:
        By term that the base has, variant and seed: "last", "least", "steps" in all, and
        "reaches_base", the steps to the last value of the base of that seed (None: never).
    """
    terms = dict.fromkeys(term for own in curves[base].values() for term in own)
    return {
        term: {
            variant: {
                str(seed): {
                    "last": own[term].values[-1],
                    "least": min(own[term].values),
                    "steps": own[term].steps[-1],
                    "reaches_base": own[term].reaches(curves[base][seed][term].values[-1]),
                }
                for seed, own in of_seed.items()
                if term in own and term in curves[base].get(seed, {})
            }
            for variant, of_seed in curves.items()
        }
        for term in terms
    }


def table(job: str, compared: Mapping[str, Mapping[str, Mapping[str, Any]]], base: str) -> str:
    """The same as plain text: by term a row a variant, a column a seed."""
    lines = []
    for term, variants in compared.items():
        seeds = list(dict.fromkeys(seed for of_seed in variants.values() for seed in of_seed))
        lines += ["", f"{job}: held-out {term} at the end, and the steps to that of {base}"]
        width = max(map(len, variants)) + 2
        lines.append(" " * width + "".join(f"{f'seed {seed}':<22}" for seed in seeds))
        for variant, of_seed in variants.items():
            cells = [_cell(of_seed[seed]) if seed in of_seed else "-" for seed in seeds]
            lines.append(f"{variant:<{width}}" + "".join(f"{text:<22}" for text in cells))
    return "\n".join(line.rstrip() for line in lines)


def _cell(point: Mapping[str, Any]) -> str:
    when = "never" if point["reaches_base"] is None else f"step {point['reaches_base']:,}"
    return f"{point['last']:.4f}  {when}"
