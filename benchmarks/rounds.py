"""One run of a comparison: all contenders loaded and warmed up, then measured in turns.

Knows no model and no job's meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.contenders import Contender, Failed, Process


class Plan(NamedTuple):
    """What is asked of every contender."""

    job: str
    # of round 0, 1, ... (a round has its own seed, the same for all)
    arguments: Callable[[int], Mapping[str, Any]]
    # a small job of the same kind; see Contender.short_warm_up
    short: Callable[[], Mapping[str, Any]]


def compare(
    contenders: Sequence[Contender],
    plan: Plan,
    rounds: int,
    environment: Mapping[str, str],
    *,
    apart: bool = False,
) -> dict[str, dict[str, Any]]:
    """Measures every contender `rounds` times, interleaved.

    Args:
        contenders: in the order of their turns.
        plan: the job.
        rounds: measurements of each.
        environment: of their processes.
        apart: each measurement has a process of its own: where contenders hold so much memory that
            they would slow down one another.

    Returns:
        By name: "dtype", "load" and "warm_up" (answers of the last process), "runs" (answers, one a
        round), "error" where it ended before its time.
    """
    found: dict[str, dict[str, Any]] = {
        each.name: {"dtype": each.dtype, "runs": []} for each in contenders
    }
    if apart:
        for turn in range(rounds):
            for each in contenders:
                if "error" not in found[each.name]:
                    _measure(found, [each], plan, [turn], environment, rounds)
    else:
        _measure(found, contenders, plan, range(rounds), environment, rounds)
    return found


def _measure(
    found: dict[str, dict[str, Any]],
    contenders: Sequence[Contender],
    plan: Plan,
    turns: Sequence[int],
    environment: Mapping[str, str],
    unused: int,
) -> None:
    """Loads, warms up and measures contenders whose processes are there at the same time; no round
    has the number `unused`.
    """
    processes = {each.name: Process(each, environment) for each in contenders}
    try:
        for name, process in processes.items():
            _ask(found[name], process, "load", process.contender.load, "load")
        for name, process in processes.items():
            # a seed that no round has
            warm_up = plan.short() if process.contender.short_warm_up else plan.arguments(unused)
            _ask(found[name], process, plan.job, {**warm_up, **process.contender.job}, "warm_up")
        for turn in turns:
            for name, process in processes.items():
                _ask(
                    found[name],
                    process,
                    plan.job,
                    {**plan.arguments(turn), **process.contender.job},
                    "runs",
                )
    finally:
        for process in processes.values():
            process.close()


def _ask(
    found: dict[str, Any], process: Process, job: str, arguments: Mapping[str, Any], slot: str
) -> None:
    """One answer into its slot; a contender that has failed is not asked again."""
    if "error" in found:
        return
    try:
        answer = process.ask(job, arguments)
    except Failed as error:
        found["error"] = str(error)
        print(f"  {process.contender.name}: failed: {error}", flush=True)
        return
    if slot == "runs":
        found["runs"].append(answer)
    else:
        found[slot] = answer
    shown = ", ".join(
        f"{name} {value:,.2f}" for name, value in answer.items() if isinstance(value, (int, float))
    )
    print(f"  {process.contender.name}: {slot}: {shown}", flush=True)
