"""python -m verifier.rerank: ranks, votes and reports on stored samples, without JAX. Knows flags and paths; figures are evaluate's.

    python -m verifier.rerank --samples=PATH [--problems=PATH] [--scores=PATH] [--out=DIR] [--ks=1,3,5,10] [--grader=numeric]

PATH is a workdir, a table folder (with its neighbours `problems` and `scores`, unless they are given), or one Parquet or JSONL file made
elsewhere with `question` or `problem_id`, `solution` and gold `answer` (there, or in --problems); `score`, `split` and `sample_id` are
optional. All solutions are judged anew by --grader. The report goes to ./rerank-report, so that neither a run's own report nor anybody's
data folder is written to.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence

import pyarrow as pa
from absl import app, flags

from verifier.config import ReportConfig, UserError
from verifier.data import store
from verifier.evaluate import foreign, graders, metrics, report, tables
from verifier.evaluate.tables import Kept, SplitRows, TablesError

_SAMPLES = flags.DEFINE_string("samples", None, "A workdir, a table folder, or one Parquet or JSONL file with solutions.")
_PROBLEMS = flags.DEFINE_string("problems", None, "Problems with their gold answers: the same kinds of path. Default: beside the samples.")
_SCORES = flags.DEFINE_string("scores", None, "Scores of the samples: the same kinds of path. Default: beside the samples.")
_OUT = flags.DEFINE_string("out", "rerank-report", "Folder for index.html, metrics.json and the charts.")
_KS = flags.DEFINE_list("ks", ["1", "3", "5", "10"], "Sizes of top-k votes.")
_GRADER = flags.DEFINE_string("grader", "numeric", "Who judges the solutions: numeric, paper, strict or flexible.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the bootstrap, of drawn subsets and of the choice of shown problems.")
_RESAMPLES = flags.DEFINE_integer("resamples", ReportConfig.resamples, "Of the bootstrap over problems.")


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where samples, problems and scores are; None: beside the samples, or in their file."""

    samples: pathlib.Path
    problems: pathlib.Path | None = None
    scores: pathlib.Path | None = None


def read(sources: Sources, grader: str) -> dict[str, SplitRows]:
    """Reads and judges samples, whatever kind of path they come from.

    Args:
        sources: the paths.
        grader: judges every solution.

    Returns:
        Rows by split: of this project's tables heldout, test and test_greedy; of other files all splits they have.

    Raises:
        UserError: of the store, the tables or the grader; the message names file and row.
    """
    graders.check_grader(grader)
    path = sources.samples
    if not path.exists():
        raise TablesError(f"--samples={path}: there is nothing; expected a workdir, a table folder, or one Parquet or JSONL file")
    if path.is_dir():
        samples, problems, scores = _stored(path, grader)
    else:
        samples, problems, scores = foreign.read_samples_file(path, grader)
    if sources.problems:
        problems = _problems(sources.problems)
    if sources.scores:
        scores = _scores(sources.scores, samples)
    if problems is None:
        raise TablesError(f"{path}: no field `answer` in it; the right answers must be there or in --problems=PATH")
    return {name: tables.assemble(rows, problems, grader, scores.get(name)) for name, rows in samples.items()}


def rerank(sources: Sources, out: pathlib.Path, config: ReportConfig, grader: str, seed: int) -> str:
    """Reads, writes the report and returns the table for the terminal.

    Args:
        sources: the paths.
        out: folder of the report.
        config: ks, resamples, show_problems.
        grader: judges every solution.
        seed: of everything that is drawn.
    """
    splits = read(sources, grader)
    root = _workdir_of(sources.samples)
    run = report.run_of_workdir(root) if root else report.Run(name=sources.samples.stem)
    return metrics.results_table(report.write(splits, run, config, seed, out))


def _workdir_of(path: pathlib.Path) -> pathlib.Path | None:
    """The workdir that a path to samples is, or lies in."""
    if not path.is_dir():
        return None
    return next((root for root in (path, *path.resolve().parents[:3]) if (root / "tables" / "samples").is_dir()), None)


def _stored(path: pathlib.Path, grader: str) -> foreign.Foreign:
    """Samples of a workdir or table folder by split, with the problems and scores beside them."""
    table = path / "tables" / "samples" if (path / "tables").is_dir() else path
    one = table if table.name.startswith("split=") else None
    folders = [one] if one else [table / f"split={name}" for name in tables.SPLITS if (table / f"split={name}").is_dir()]
    if not folders and sorted(table.glob("part-*.parquet")):
        folders = [table]
    if not folders:
        raise TablesError(f"{table}: no samples of the splits {', '.join(tables.SPLITS)}, nor part-*.parquet; expected a table of samples")
    beside = (one or table).resolve().parent.parent if one else table.resolve().parent
    problems = beside / "problems"
    samples, scores = {}, {}
    for folder in folders:
        name = folder.name.removeprefix("split=") if folder.name.startswith("split=") else "test"
        samples[name] = tables.read_samples(folder, grader)
        if (beside / "scores" / folder.name).is_dir():
            tables.refuse_other_samples(beside / "scores" / folder.name, folder, "score")
            scores[name] = tables.read_scores(beside / "scores" / folder.name)
    return foreign.Foreign(samples, _problems(problems) if problems.is_dir() else None, scores)


def _problems(path: pathlib.Path) -> pa.Table:
    if path.is_dir():
        return store.read_table(path, "problems", ["problem_id", "question", "answer"])
    return foreign.read_problems_file(path)


def _scores(path: pathlib.Path, samples: Mapping[str, Kept]) -> dict[str, Kept]:
    """Scores by split; a table without splits serves all of them."""
    if not path.is_dir():
        read = foreign.read_scores_file(path)
        return dict.fromkeys(samples, read[""]) if "" in read else read
    root = path / "tables" / "scores" if (path / "tables").is_dir() else path
    if not list(root.glob("split=*")):
        return dict.fromkeys(samples, tables.read_scores(root))
    return {name: tables.read_scores(root / f"split={name}") for name in samples if (root / f"split={name}").is_dir()}


def _sizes(words: Sequence[str]) -> tuple[int, ...]:
    if not words or not all(word.strip().isdecimal() and int(word) > 0 for word in words):
        raise TablesError(f"--ks={','.join(words)}: expected whole numbers from 1, such as --ks=1,3,5,10")
    return tuple(int(word) for word in words)


def _at_least(flag: flags.FlagHolder[int], least: int) -> int:
    if flag.value < least:
        raise TablesError(f"--{flag.name}={flag.value}: expected a whole number from {least}, such as --{flag.name}={flag.default}")
    return flag.value


def main(argv: Sequence[str]) -> None:
    """Runs; what a user can mend ends as one line on stderr and exit status 1, everything else with its traceback."""
    try:
        if len(argv) > 1 or _SAMPLES.value is None:
            raise TablesError(
                f"{' '.join(argv[1:]) or 'no --samples'}: expected --samples=PATH and further --flag=value; --help lists them"
            )
        paths = [pathlib.Path(flag.value) if flag.value else None for flag in (_PROBLEMS, _SCORES)]
        config = ReportConfig(ks=_sizes(_KS.value), resamples=_at_least(_RESAMPLES, 1))
        out = pathlib.Path(_OUT.value)
        table = rerank(Sources(pathlib.Path(_SAMPLES.value), *paths), out, config, _GRADER.value, _at_least(_SEED, 0))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(table)
    print(f"\nreport:  {out / 'index.html'}\nfigures: {out / 'metrics.json'}")


def entry() -> None:
    app.run(main)


if __name__ == "__main__":
    entry()
