"""Gold answers of GSM8K that are known to be wrong, and the right ones.

The list, gsm8k_corrections.jsonl, has one line a problem: its id, how its question begins, the old
and the new answer, and the reason. It holds only what follows from the question with certainty;
questions that can be read in two ways are not in it (lists with those: openai/grade-school-math#25;
GSM8K-Platinum, Vendrow et al. 2025, arXiv 2502.03461). Worked solutions are not rewritten.
"""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from verifier.grading.answer import same
from verifier.system.text_files import field, jsonl_rows

_LIST = pathlib.Path(__file__).parent / "gsm8k_corrections.jsonl"
_KEPT = ("problem_id", "old", "new", "reason")


def corrected(gold: Mapping[str, str]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Gold answers with the known-wrong ones corrected.

    Args:
        gold: answer by problem_id.

    Returns:
        The answers, and what was changed, sorted by problem_id: `problem_id`, `old`, `new` and
        `reason`. A problem whose answer is another one than the known-wrong answer is left alone:
        its data have been mended already.
    """
    fixed = [each for each in known() if same(gold.get(each["problem_id"]), each["old"])]
    return {**gold, **{each["problem_id"]: each["new"] for each in fixed}}, fixed


def with_answers(problems: pa.Table, fixed: Iterable[Mapping[str, str]]) -> pa.Table:
    """A problems table with the new answers of what `corrected` changed."""
    new = {each["problem_id"]: each["new"] for each in fixed}
    if not new:
        return problems
    ids, answers = problems["problem_id"].to_pylist(), problems["answer"].to_pylist()
    column = pa.array(
        [new.get(name, answer) for name, answer in zip(ids, answers, strict=True)], pa.string()
    )
    return problems.set_column(
        problems.column_names.index("answer"), problems.schema.field("answer"), column
    )


@functools.cache
def known() -> Sequence[dict[str, str]]:
    """The list, sorted by problem_id."""
    rows = [
        {name: str(field(row, name, line)) for name in _KEPT} for row, line in jsonl_rows(_LIST)
    ]
    return sorted(rows, key=lambda each: each["problem_id"])
