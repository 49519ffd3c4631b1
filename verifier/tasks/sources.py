"""Word problems by the name of their source, in three splits that share no problem."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import typing
from collections.abc import Callable, Collection, Mapping, Sequence

import pyarrow as pa

from verifier import config as config_lib
from verifier.config import DataConfig, ForTesting, OodConfig
from verifier.errors import DataError
from verifier.system import log
from verifier.tables.schemas import SCHEMAS
from verifier.tasks.asdiv import load_asdiv
from verifier.tasks.bbh import load_bbh
from verifier.tasks.corpus import read_corpus
from verifier.tasks.generated import KINDS, generate
from verifier.tasks.generated_sums import sums
from verifier.tasks.gsm8k import load_gsm8k
from verifier.tasks.labelled_choice import load_labelled_choice
from verifier.tasks.multiarith import load_multiarith
from verifier.tasks.svamp import load_svamp, load_svamp_equations
from verifier.text.problem import Problem
from verifier.text.split import Split

__all__ = [
    "load_further",
    "load_problems",
    "load_unlabelled",
    "problems_from_table",
    "problems_table",
    "read_corpus",
]

Source = Callable[[DataConfig, int], dict[str, list[Problem]]]

SOURCES: dict[str, Source] = {
    "generated": lambda config, seed: _generated(config, seed),
    "gsm8k": lambda config, seed: load_gsm8k(config.dir, config.source),
    "svamp": lambda config, seed: load_svamp(config.dir, config.solutions),
    "asdiv": lambda config, seed: load_asdiv(config.dir, config.solutions),
    "multiarith": lambda config, seed: load_multiarith(config.dir, config.solutions),
    "bbh": lambda config, seed: load_bbh(config.dir, config.bbh_tasks),
    "svamp_equations": lambda config, seed: load_svamp_equations(config.dir),
    "labelled_choice": lambda config, seed: load_labelled_choice(config.dir),
    "sums": lambda config, seed: _sums(config, seed),
}

FOR_TESTING = typing.get_args(ForTesting)
ENDLESS = ("generated", "sums")
WITH_EQUATIONS = ("svamp", "asdiv", "multiarith")


def load_problems(config: DataConfig, seed: int) -> dict[str, list[Problem]]:
    """The problems of a run.

    Held-out problems are those that the source has, else the first of the training problems by a
    hash of their id, whatever the seed, so that two runs on one data set hold out the same ones.
    Limits take the first by a hash
    of seed and id: a smaller limit gives a part of what a larger one gives. No choice depends on
    the order of rows.

    Args:
        config: name, dir, test_name, test_dir, source, solutions, kinds, bbh_tasks and the numbers
            of problems.
        seed: which problems the limits choose, and which ones are generated.

    Returns:
        "train", "heldout" and "test", each sorted by problem_id; every problem's `split` says where
        it is.

    Raises:
        DataError: an unknown name, a set for testing only where training problems are needed,
            missing data, fewer problems than asked for, or a question in two splits.
    """
    _check_name("data.name", config.name)
    for knob in ("train_problems", "heldout_problems", "test_problems"):
        if getattr(config, knob) < 0:
            raise DataError(f"data.{knob} is {getattr(config, knob)}; expected 0 or more")
    found, test = _sources(config, seed)
    train, heldout = _hold_out(found, config)
    train = _first(
        train,
        config.train_problems,
        f"train/{seed}",
        f"data.train_problems (beside {len(heldout):,} held out)",
    )
    test = _first(test, config.test_problems, f"test/{seed}", "data.test_problems")
    splits = {"train": train, "heldout": heldout, "test": test}
    _check_disjoint(splits)
    return {
        split: [
            dataclasses.replace(problem, split=split)
            for problem in sorted(problems, key=lambda problem: problem.problem_id)
        ]
        for split, problems in splits.items()
    }


def load_further(
    config: OodConfig, seed: int, trained_on: Mapping[str, list[Problem]]
) -> dict[str, list[Problem]]:
    """The problems of further test sets.

    Two of them may share problems (ASDiv and MultiArith do); none may share one with those that
    training or a choice looks at, unless `shared` leaves such out, which is said.

    Args:
        config: sets, dirs, problems, shared, bbh_tasks.
        seed: which problems the limit chooses.
        trained_on: the problems that training or a choice looks at, by split.

    Returns:
        For every set its problems as the split "test_NAME", sorted by problem_id.

    Raises:
        DataError: missing data, fewer problems than asked for, or a question that is in
            `trained_on`.
    """
    further = {}
    known = {each.problem_id for problems in trained_on.values() for each in problems}
    for index, name in enumerate(config.sets):
        split = f"test_{name}"
        folder = config.dirs[index] if config.dirs else ""
        if name in KINDS:
            all_of_it = generate("test", config.problems, seed, (name,))
        else:
            source = DataConfig(
                typing.cast(config_lib.Source, name), dir=folder, bbh_tasks=config.bbh_tasks
            )
            all_of_it = SOURCES[name](source, seed)["test"]
        if config.shared == "leave_out":
            all_of_it = _without(split, all_of_it, known, "training or held-out problems")
        chosen = _first(all_of_it, config.problems, f"{split}/{seed}", f"ood.problems (of {name})")
        _check_disjoint({**trained_on, split: chosen})
        further[split] = [
            dataclasses.replace(each, split=split)
            for each in sorted(chosen, key=lambda each: each.problem_id)
        ]
    return further


def load_unlabelled(
    name: str, folder: str, shared: str, known: Mapping[str, list[Problem]]
) -> list[Problem]:
    """Problems to learn from whose answers and solutions are not kept, none of which the run has in
    another split.

    Args:
        name: of a source in `WITH_EQUATIONS`.
        folder: of its files; empty: its environment variable.
        shared: as `ood.shared`.
        known: the run's other problems, by split.

    Returns:
        The problems as the split "train_NAME", sorted by problem_id, their answers empty.

    Raises:
        DataError: missing data, a question that is in `known`, or no other one.
    """
    split = str(Split("train", name))
    source = DataConfig(typing.cast(config_lib.Source, name), dir=folder)
    problems = SOURCES[name](source, 0)["test"]
    if shared == "leave_out":
        ids = {each.problem_id for others in known.values() for each in others}
        problems = _without(split, problems, ids, "other splits")
    for other, others in known.items():
        _check_disjoint({other: others, split: problems})
    if not problems:
        raise DataError(
            f"{split}: all problems of {name} are among the run's own; name another set in "
            "step_by_step.unlabelled"
        )
    return [
        dataclasses.replace(each, split=split, answer="", solution=None)
        for each in sorted(problems, key=lambda each: each.problem_id)
    ]


def _without(
    split: str, problems: Sequence[Problem], known: Collection[str], whose: str
) -> list[Problem]:
    """A further set's problems that are not known by their ids, with a line on the others."""
    kept = [each for each in problems if each.problem_id not in known]
    log.say(
        f"{split}: {len(problems) - len(kept):,} of {len(problems):,} problems are left out: "
        f"{whose} have them too"
    )
    return kept


def _sources(config: DataConfig, seed: int) -> tuple[Mapping[str, list[Problem]], list[Problem]]:
    """The splits of the source that is trained on, and all test problems, of it or another one."""
    _check_solutions(config)
    tested = config.test_name or config.name
    _check_name("data.test_name", tested)
    for knob, name in (("train_problems", config.name), ("test_problems", tested)):
        if name in ENDLESS and not getattr(config, knob):
            raise DataError(
                f"data.{knob} is 0; generated problems have no end, so say how many are wanted"
            )
    if not config.test_name:
        splits = SOURCES[config.name](config, seed)
        return splits, splits["test"]
    found = SOURCES[config.name](dataclasses.replace(config, test_problems=0), seed)
    for_test = dataclasses.replace(
        config, dir=config.test_dir, train_problems=0, heldout_problems=0, solutions="source"
    )
    return found, SOURCES[tested](for_test, seed)["test"]


def _check_solutions(config: DataConfig) -> None:
    """Whether the source has worked solutions, or equations where these are to be learned from."""
    if config.solutions == "source" and config.name in FOR_TESTING:
        raise DataError(
            f"data.name is {config.name!r}, but {', '.join(FOR_TESTING)} are for testing only: "
            "name a training source, such as data.name=gsm8k, and set "
            f"data.test_name={config.name} data.test_dir=FOLDER; or set data.solutions=equations "
            f"to learn from the equations of {', '.join(WITH_EQUATIONS)}"
        )
    if config.solutions == "equations" and config.name not in WITH_EQUATIONS:
        raise DataError(
            f"data.solutions is equations, but data.name is {config.name!r}; expected one of "
            f"{', '.join(WITH_EQUATIONS)}, or data.solutions=source"
        )
    if config.solutions == "equations" and not config.test_name:
        raise DataError(
            f"data.name={config.name} data.solutions=equations makes all its problems training "
            "problems; name others to test on, such as data.test_name=gsm8k data.test_dir=FOLDER"
        )


def _check_name(knob: str, name: str) -> None:
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=2, cutoff=0.4) or list(SOURCES)
        raise DataError(
            f"{knob} is {name!r}, which is no known source; nearest: {', '.join(near)} (all: "
            f"{', '.join(SOURCES)})"
        )


def problems_table(problems: Sequence[Problem]) -> pa.Table:
    """The rows of the problems table."""
    schema = SCHEMAS["problems"]
    arrays = [
        pa.array([getattr(each, name) for each in problems], pa.string()) for name in schema.names
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def problems_from_table(table: pa.Table) -> list[Problem]:
    """The problems of a stored table, in its order."""
    return [Problem(**row) for row in table.select(SCHEMAS["problems"].names).to_pylist()]


def _generated(config: DataConfig, seed: int) -> dict[str, list[Problem]]:
    kinds, lengths = config.kinds, config.lengths
    return {
        split: generate(split, count, seed, kinds, lengths)
        for split, count in _wanted(config).items()
    }


def _sums(config: DataConfig, seed: int) -> dict[str, list[Problem]]:
    return {
        split: sums(split, count, seed, config.lengths) for split, count in _wanted(config).items()
    }


def _wanted(config: DataConfig) -> dict[str, int]:
    """How many problems of a source without end are drawn."""
    return {
        "train": config.train_problems + config.heldout_problems,
        "test": config.test_problems,
    }


def _hold_out(
    splits: Mapping[str, list[Problem]], config: DataConfig
) -> tuple[list[Problem], list[Problem]]:
    train, count = splits["train"], config.heldout_problems
    if "heldout" in splits:
        own = splits["heldout"]
        if count > len(own):
            raise DataError(
                f"data.heldout_problems is {count:,}, but {config.name} holds out {len(own):,} "
                f"problems of its own; set data.heldout_problems={len(own)}"
            )
        return train, _by_hash(own, "heldout")[:count]
    if count >= len(train):
        raise DataError(
            f"data.heldout_problems is {count:,} of {len(train):,} training problems of "
            f"{config.name}; leave some to train on"
        )
    ordered = _by_hash(train, "heldout")
    return ordered[count:], ordered[:count]


def _first(problems: list[Problem], limit: int, salt: str, knob: str) -> list[Problem]:
    """As many as the limit says, 0 for all of them."""
    if limit > len(problems):
        raise DataError(
            f"{knob} is {limit:,}, but there are {len(problems):,} problems; ask for fewer, or "
            "for 0 to take all"
        )
    return _by_hash(problems, salt)[: limit or None]


def _by_hash(problems: Sequence[Problem], salt: str) -> list[Problem]:
    return sorted(
        problems,
        key=lambda problem: hashlib.sha256(f"{salt}/{problem.problem_id}".encode()).digest(),
    )


def _check_disjoint(splits: dict[str, list[Problem]]) -> None:
    """A problem that is trained on must not be tested on."""
    where: dict[str, str] = {}
    for split, problems in splits.items():
        for problem in problems:
            other = where.setdefault(problem.problem_id, split)
            if other != split:
                question = problem.question[:80]
                raise DataError(
                    f"problem {problem.problem_id} is in {other} and in {split}: {question!r}; "
                    "take it out of one of them (ood.shared=leave_out does so with further sets)"
                )
