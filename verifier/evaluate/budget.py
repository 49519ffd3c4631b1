"""What methods of search find for what they spend, beside best-of-n.

That is best-of-n with as many candidates, and with as many tokens generated and scored: a method
may spend other amounts than its candidates say.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from verifier.evaluate.curves import grid, verifier_at_k
from verifier.evaluate.equal_tokens import PlainSamples
from verifier.evaluate.intervals import Bootstrap, Estimate
from verifier.evaluate.results_table import cell

BASELINE = "sample"  # best of n plain samples
SPENT = ("tokens_generated", "prefixes_generated", "tokens_scored", "seconds")
# What the figures count, a sentence each.
COUNTED = (
    "At equal tokens: against the n plain samples that take no more tokens, generated and scored, "
    "than the method does; their accuracy is the mean over all choices of n of the run's samples.",
    "Generated are the tokens of all samples and candidates, alike or not; scored are those that "
    "the verifier reads: of the n samples the prompt, and what they begin with alike once, as the "
    "stage score reads them; the method sample reads each distinct solution whole.",
)
CUT_OFF = "All plain samples together take fewer tokens than the method: there are no more of them."
_Key = tuple[str, int]  # a method and its candidates


class BudgetFigures(NamedTuple):
    """Figures of a split that was searched.

    methods: by method, by rising budget, as `by_method` tells.
    best_of_n: of plain samples at some n: `n`, `tokens`, `tokens_scored`, `accuracy`; None: there
    are none that were scored.
    """

    methods: dict[str, list[dict[str, Any]]]
    best_of_n: list[dict[str, Any]] | None

    def as_figures(self) -> dict[str, Any]:
        """As a split's figures in metrics.json have them."""
        return {"budget": self.methods, "budget_best_of_n": self.best_of_n}


def by_method(
    rows: Sequence[Mapping[str, Any]],
    resamples: int,
    seed: int,
    plain: PlainSamples | None = None,
) -> BudgetFigures:
    """Figures of every method and budget, and of best-of-n.

    Args:
        rows: of the search table; every method and budget has the same problems.
        resamples: of the bootstrap over problems.
        seed: of the same.
        plain: scored samples of the same problems.

    Returns:
        Of each method and budget: candidates a step, what was spent a problem (`tokens` are those
        generated), `accuracy`; and paired differences, None for plain samples: `minus_best_of_n`,
        to as many of them, and `minus_best_of_n_at_equal_tokens`, to the expected accuracy of as
        many as take no more tokens, generated and scored: it has `n`, their `tokens` and
        `tokens_scored`, and whether it is `cut_off`, at all samples that there are. None without
        scored samples, too.

    Raises:
        ValueError: a method lacks problems that another has, or `plain` has other problems.
    """
    columns, mean = _columns(rows, plain)
    bootstrap = Bootstrap.draw(len(next(iter(columns.values()))), resamples, seed)
    accuracy = bootstrap.estimates({f"{m} {n}": column for (m, n), column in columns.items()})
    differences = _at_equal_candidates(columns, bootstrap)
    equal = _at_equal_tokens(columns, mean, bootstrap, plain) if plain else {}
    methods: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for method, size in sorted(columns, key=lambda key: (key[0] != BASELINE, *key)):
        spent = mean[method, size]
        methods[method].append(
            {
                "candidates": size,
                "tokens": spent.pop("tokens_generated"),
                **spent,
                "accuracy": accuracy[f"{method} {size}"],
                "minus_best_of_n": differences.get((method, size)),
                "minus_best_of_n_at_equal_tokens": equal.get((method, size)),
            }
        )
    return BudgetFigures(dict(methods), _best_of_n(plain, bootstrap) if plain else None)


def _columns(
    rows: Sequence[Mapping[str, Any]], plain: PlainSamples | None
) -> tuple[dict[_Key, np.ndarray], dict[_Key, dict[str, float]]]:
    """Verdicts of each method and budget, [P] by rising id of the problem, and what it spent.

    Raises:
        ValueError: not all have the same problems.
    """
    correct: dict[_Key, dict[str, bool]] = collections.defaultdict(dict)
    spent: dict[_Key, list[list[float]]] = collections.defaultdict(list)
    for row in rows:
        key = row["method"], row["budget"]
        correct[key][row["problem_id"]] = row["correct"]
        spent[key].append([row[name] for name in SPENT])
    problems = sorted({problem for each in correct.values() for problem in each})
    for (method, size), each in correct.items():
        if len(each) < len(problems):
            raise ValueError(
                f"{method} with {size} candidates has {len(each)} of {len(problems)} problems"
            )
    if plain and plain.candidates.problem_id_P.tolist() != problems:
        raise ValueError(
            f"the plain samples are of {len(plain.candidates.problem_id_P)} problems; expected "
            f"those {len(problems)} that were searched"
        )
    columns = {
        key: np.array([each[problem] for problem in problems], np.float64)
        for key, each in correct.items()
    }
    means = {
        key: dict(zip(SPENT, np.mean(each, axis=0).tolist(), strict=True))
        for key, each in spent.items()
    }
    return columns, means


def _at_equal_candidates(
    columns: Mapping[_Key, np.ndarray], bootstrap: Bootstrap
) -> dict[_Key, Estimate]:
    """Paired differences of all methods to as many plain samples."""
    against = {
        (method, size): column - columns[BASELINE, size]
        for (method, size), column in columns.items()
        if method != BASELINE and (BASELINE, size) in columns
    }
    differences = bootstrap.differences({str(key): column for key, column in against.items()})
    return {key: differences[str(key)] for key in against}


def _at_equal_tokens(
    columns: Mapping[_Key, np.ndarray],
    mean: Mapping[_Key, Mapping[str, float]],
    bootstrap: Bootstrap,
    plain: PlainSamples,
) -> dict[_Key, dict[str, Any]]:
    """Paired differences of all methods to best-of-n with as many tokens."""
    tokens = {
        key: figures["tokens_generated"] + figures["tokens_scored"]
        for key, figures in mean.items()
        if key[0] != BASELINE
    }
    n_of = {key: plain.affordable(each) for key, each in tokens.items()}
    right_at = {n: verifier_at_k(plain.candidates, n) for n in set(n_of.values())}
    differences = bootstrap.differences(
        {
            f"{method} {size}": columns[method, size] - right_at[n_of[method, size]]
            for method, size in n_of
        }
    )
    against = {}
    for (method, size), n in n_of.items():
        spent = plain.spent(n)
        against[method, size] = {
            **differences[f"{method} {size}"],
            "n": n,
            "tokens": spent.generated,
            "tokens_scored": spent.scored,
            "cut_off": plain.would_afford_more(tokens[method, size]),
        }
    return against


def _best_of_n(plain: PlainSamples, bootstrap: Bootstrap) -> list[dict[str, Any]]:
    """Expected accuracy of best-of-n at some n up to all samples, and what it takes."""
    sizes = grid(plain.most)
    accuracy = bootstrap.estimates({str(n): verifier_at_k(plain.candidates, n) for n in sizes})
    spent = {n: plain.spent(n) for n in sizes}
    return [
        {
            "n": n,
            "tokens": spent[n].generated,
            "tokens_scored": spent[n].scored,
            "accuracy": accuracy[str(n)],
        }
        for n in sizes
    ]


def as_text(figures: BudgetFigures, split: str) -> str:
    """A table for the terminal: a line a method and budget, what was spent on a problem."""
    spent = ("candidates", "tokens", "distinct", "scored", "seconds")
    head = "".join(f"{name:>11}" for name in spent) + f"{split:>22}{'minus best-of-n':>24}"
    lines = [f"{'method':<10}{head}" + f"{'at equal tokens':>24}{'n':>6}" * bool(figures.best_of_n)]
    cut_off = False
    for method, sizes in figures.methods.items():
        for each in sizes:
            line = (
                f"{method:<10}{each['candidates']:>11}{each['tokens']:>11,.0f}"
                f"{each['prefixes_generated']:>11,.0f}{each['tokens_scored']:>11,.0f}"
                f"{each['seconds']:>11.2f}{cell(each['accuracy']):>22}"
                f"{cell(each['minus_best_of_n'], signed=True):>24}"
            )
            against = each["minus_best_of_n_at_equal_tokens"]
            if against:
                line += f"{cell(against, signed=True):>24}{samples(against):>6}"
                cut_off |= against["cut_off"]
            lines.append(line.rstrip())
    notes = [*COUNTED, *[f"+: {CUT_OFF}"] * cut_off] if figures.best_of_n else []
    return "\n".join([*lines, *[""] * bool(notes), *notes])


def samples(against: Mapping[str, Any]) -> str:
    """How many plain samples a difference at equal tokens is to; a + says that it is cut off."""
    return f"{against['n']:,}{'+' * against['cut_off']}"
