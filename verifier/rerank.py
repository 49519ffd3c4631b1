"""python -m verifier.rerank: ranks, votes and reports on stored samples, without JAX. Knows flags
and paths; figures are evaluate's.

    python -m verifier.rerank --samples=PATH [--problems=PATH] [--scores=PATH] [--out=DIR]
    [--ks=1,3,5,10] [--grader=numeric]
        [--layout=auto] [--fields=question=problem,solution=completions] [--grader_seconds=5]
        [--fix_labels] [--aggregation=last] [--tokenizer=PATH] [--allow-missing] [--other-generator]

PATH is a workdir, a table folder (with its neighbours `problems` and `scores`, unless they are
given), or a file made elsewhere, a folder or a quoted pattern of such files: Parquet, Arrow, CSV or
JSON, one solution or many a row, in a layout that is recognised (--layout) or told (--fields):
`question` or `problem_id`, `solution` and gold `answer` (there, or in --problems); `score`, `split`
and `sample_id` are optional. All solutions are judged anew by --grader. The report goes to
./rerank-report, so that neither a run's own report nor anybody's data folder is written to.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from verifier.system import stopping

if __name__ == "__main__":
    stopping.listen(goes_on=False)  # before all that takes time to import

import pyarrow as pa
from absl import app, flags

from verifier.config import LabelConfig, ReportConfig, kinds, knobs
from verifier.errors import TablesError, UserError
from verifier.evaluate import metrics
from verifier.grading import corrections, graders
from verifier.ingest import external, layouts
from verifier.report import writing
from verifier.report.aggregation import AGGREGATIONS, check_aggregation
from verifier.system import log, paths
from verifier.tables import provenance, split_rows, store
from verifier.tables.split_rows import Kept, SplitRows
from verifier.text.tokenizer import load_tokenizer

_SAMPLES = flags.DEFINE_string(
    "samples",
    None,
    "A workdir, a table folder, or a file with solutions, a folder or a pattern of such files.",
)
_PROBLEMS = flags.DEFINE_string(
    "problems",
    None,
    "Problems with their gold answers: the same kinds of path. Default: beside the samples.",
)
_SCORES = flags.DEFINE_string(
    "scores", None, "Scores of the samples: the same kinds of path. Default: beside the samples."
)
_LAYOUT = flags.DEFINE_string(
    "layout", "auto", f"How files made elsewhere keep their fields: {', '.join(layouts.NAMES)}."
)
_FIELDS = flags.DEFINE_list(
    "fields",
    [],
    "Where they keep some, such as question=problem,solution=outputs.text; score= leaves it out.",
)
_OUT = flags.DEFINE_string(
    "out", "rerank-report", "Folder for index.html, metrics.json and the charts."
)
_KS = flags.DEFINE_list("ks", ["1", "3", "5", "10"], "Sizes of top-k votes.")
_GRADER = flags.DEFINE_string(
    "grader", "numeric", f"Who judges the solutions: {', '.join(graders.NAMES)}."
)
_GRADER_SECONDS = flags.DEFINE_float(
    "grader_seconds",
    LabelConfig.grader_seconds,
    "Of computing that math_verify has for one solution.",
)
_FIX_LABELS = flags.DEFINE_bool(
    "fix_labels", LabelConfig.fix_labels, "Correct known-wrong gold answers of GSM8K."
)
_AGGREGATION = flags.DEFINE_string(
    "aggregation", "last", f"A solution's score out of its token values: {', '.join(AGGREGATIONS)}."
)
_TOKENIZER = flags.DEFINE_string(
    "tokenizer",
    None,
    "Of the samples' tokens, for --aggregation=last_line. Default: the workdir's.",
)
_ALLOW_MISSING = flags.DEFINE_bool(
    "allow_missing", False, "Leave out samples without a score, or with NaN or inf, and count them."
)
_OTHER_GENERATOR = flags.DEFINE_bool(
    "other_generator", False, "Allow samples of another generator than the verifier was trained on."
)
for _name in ("grader_seconds", "fix_labels", "allow_missing", "other_generator"):
    flags.DEFINE_alias(_name.replace("_", "-"), _name)
_SEED = flags.DEFINE_integer(
    "seed", 0, "Of the bootstrap, of drawn subsets and of the choice of shown problems."
)
_RESAMPLES = flags.DEFINE_integer(
    "resamples", ReportConfig.resamples, "Of the bootstrap over problems."
)


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where samples, problems, scores and the tokenizer are (None: beside the samples, or in their
    file), and how others' are read.
    """

    samples: pathlib.Path
    problems: pathlib.Path | None = None
    scores: pathlib.Path | None = None
    tokenizer: pathlib.Path | None = None
    how: external.Reading = external.AS_FOUND


def read(sources: Sources, label: LabelConfig, allow_missing: bool = False) -> dict[str, SplitRows]:
    """Reads and judges samples, whatever kind of path they come from.

    Args:
        sources: the paths.
        label: who judges every solution, and by which gold answers.
        allow_missing: leave out samples without a score, or with NaN or inf, and count them.

    Returns:
        Rows by split: of this project's tables heldout, test and test_greedy; of other files all
        splits they have.

    Raises:
        UserError: of the store, the tables or the grader; the message names file and row.
    """
    graders.check_grader(label.grader)
    layouts.check_layout(sources.how.layout)
    path, is_stored = sources.samples, _is_stored(sources.samples)
    if is_stored:
        samples, problems, scores = _stored(path, label.grader)
    else:
        samples, problems, scores = external.read_samples_file(
            path, label.grader, allow_missing, sources.how
        )
    asked = sources.problems or (_beside(path) / "problems" if is_stored else None)
    if sources.problems:
        problems = _problems(sources.problems, sources.how)
    if sources.scores:
        scores = _scores(sources.scores, samples, allow_missing, sources.how)
    if problems is None:
        raise TablesError(
            f"{path}: no field `answer` in it; the right answers must be there (or named: "
            "--fields=answer=NAME), or in --problems=PATH"
        )
    gold = dict(
        zip(problems["problem_id"].to_pylist(), problems["answer"].to_pylist(), strict=True)
    )
    fixed = corrections.corrected(gold)[1] if label.fix_labels else []
    problems = corrections.with_answers(problems, fixed)
    judged = functools.partial(
        _judged, problems=problems, label=label, fixed=fixed, allow_missing=allow_missing
    )
    splits = {name: judged(name, rows, scores.get(name)) for name, rows in samples.items()}
    return {
        name: dataclasses.replace(rows, left_out=_left_out(asked, name, rows))
        for name, rows in splits.items()
    }


def _judged(
    name: str,
    samples: Kept,
    scores: Kept | None,
    problems: pa.Table,
    label: LabelConfig,
    fixed: Sequence[Mapping[str, str]],
    allow_missing: bool,
) -> SplitRows:
    """One split, judged anew; what was corrected in it and what could not be graded is said."""
    split = split_rows.assemble(
        samples, problems, label.grader, scores, allow_missing, label.grader_seconds
    )
    asked = set(split.candidates.problem_id_P.tolist())
    own = [each for each in fixed if each["problem_id"] in asked]
    for each in own:
        log.say(
            f"{name}: problem {each['problem_id']}: {each['new']}, not {each['old']} "
            f"({each['reason']})"
        )
    if split.not_graded:
        log.say(f"{name}: {graders.given_up(split.not_graded, label.grader, label.grader_seconds)}")
    return dataclasses.replace(split, fixed_labels=own)


def _left_out(problems: pathlib.Path | None, split: str, rows: SplitRows) -> int | None:
    """How many problems of a split have no samples, as `tables.read_workdir` counts; None where the
    problems know no such split.
    """
    if problems is None:
        return None
    name = f"split={split.removesuffix(metrics.GREEDY)}"
    tried = (
        root / name for root in (problems / "tables" / "problems", problems / "problems", problems)
    )
    folder = next((folder for folder in tried if folder.is_dir()), None)
    return (
        split_rows.left_out(
            split, len(store.read_table(folder, "problems", ["problem_id"])), rows.candidates
        )
        if folder
        else None
    )


def rerank(
    sources: Sources,
    out: pathlib.Path,
    config: ReportConfig,
    label: LabelConfig,
    seed: int,
    other_generator: bool = False,
) -> str:
    """Reads, writes the report and returns the table for the terminal.

    Args:
        sources: the paths.
        out: folder of the report.
        config: of the report.
        label: who judges every solution, and by which gold answers.
        seed: of everything that is drawn.
        other_generator: allow samples of another generator than the one whose samples the verifier
            was trained on.
    """
    check_aggregation(config.aggregation)
    splits = read(sources, label, config.allow_missing)
    root, scored_in = _workdir_of(sources.samples), _workdir_of(sources.scores or sources.samples)
    about = writing.about_workdir(root) if root else writing.About(name=sources.samples.stem)
    if not other_generator and not about.settings.get("verify.other_generator"):
        provenance.refuse_other_generator(splits, scored_in / "verifier" if scored_in else None)
    if sources.tokenizer:
        about = dataclasses.replace(about, tokenizer=load_tokenizer(sources.tokenizer))
    return metrics.results_table(writing.write(splits, about, config, seed, out))


def _workdir_of(path: pathlib.Path) -> pathlib.Path | None:
    """The workdir that a path to samples is, or lies in."""
    if not path.is_dir():
        return None
    # Links are not followed: a sweep's variants share results, but not a verifier or a name.
    above = paths.absolute(path).parents[:3]
    return next((root for root in (path, *above) if (root / "tables" / "samples").is_dir()), None)


def _stored(path: pathlib.Path, grader: str) -> external.Foreign:
    """Samples of a workdir or table folder by split, with the problems and scores beside them."""
    table, beside = _table(path), _beside(path)
    one = table if table.name.startswith("split=") else None
    folders = (
        [one]
        if one
        else [
            table / f"split={name}"
            for name in split_rows.reported(table)
            if (table / f"split={name}").is_dir()
        ]
    )
    if not folders and any(table.glob("part-*.parquet")):
        folders = [table]
    if not folders:
        raise TablesError(
            f"{table}: no samples of {', '.join(split_rows.SPLITS)}, nor part-*.parquet; "
            "expected a table of samples"
        )
    problems = beside / "problems"
    samples, scores = {}, {}
    for folder in folders:
        name = folder.name.removeprefix("split=") if folder.name.startswith("split=") else "test"
        samples[name] = split_rows.read_samples(folder, grader)
        if (beside / "scores" / folder.name).is_dir():
            sources = {"samples": folder, "verifier": beside.parent / "verifier"}
            provenance.refuse_other_sources(beside / "scores" / folder.name, sources, "score")
            scores[name] = split_rows.read_scores(beside / "scores" / folder.name)
    return external.Foreign(samples, _problems(problems) if problems.is_dir() else None, scores)


def _table(path: pathlib.Path) -> pathlib.Path:
    return path / "tables" / "samples" if (path / "tables").is_dir() else path


def _beside(path: pathlib.Path) -> pathlib.Path:
    """The folder of the tables that belong to these samples: where they were asked for, not where a
    sweep's link leads.
    """
    table = paths.absolute(_table(path))
    return table.parent.parent if table.name.startswith("split=") else table.parent


def _is_stored(path: pathlib.Path) -> bool:
    """Whether a path is a workdir, or a table folder as this project writes them."""
    if not path.is_dir():
        return False
    if (
        (path / "tables").is_dir()
        or path.name.startswith("split=")
        or any(path.glob("split=*"))
        or any(path.glob("*/split=*"))
    ):
        return True
    whole = any((path / name).is_file() for name in (store.MANIFEST, store.UNFINISHED))
    return whole or (any(path.glob("part-*.parquet")) and (path.parent / "problems").is_dir())


def _problems(path: pathlib.Path, how: external.Reading = external.AS_FOUND) -> pa.Table:
    if _is_stored(path):
        return store.read_table(path, "problems", ["problem_id", "question", "answer"])
    return external.read_problems_file(path, how)


def _scores(
    path: pathlib.Path, samples: Mapping[str, Kept], allow_missing: bool, how: external.Reading
) -> dict[str, Kept]:
    """Scores by split; a table without splits serves all of them."""
    if not _is_stored(path):
        read = external.read_scores_file(path, allow_missing, how)
        return dict.fromkeys(samples, read[""]) if "" in read else read
    root = path / "tables" / "scores" if (path / "tables").is_dir() else path
    splits = list(root.glob("split=*"))
    folders = {name: root / f"split={name}" if splits else root for name in samples}
    there = {name: folder for name, folder in folders.items() if folder.is_dir()}
    for name, folder in there.items():
        provenance.refuse_other_sources(folder, {"samples": samples[name].scan.path}, "score")
    kept = functools.cache(split_rows.read_scores)
    return {name: kept(folder) for name, folder in there.items()}


def _taken(flag: flags.FlagHolder[Any], knob: str) -> Any:
    """The value of a flag, where the knob of a run that it stands for takes it.

    Raises:
        TablesError: it does not; with what was expected.
    """
    declared, is_list = knobs()[knob], isinstance(flag.value, list)
    text = ",".join(flag.value) if is_list else str(flag.value)
    try:
        value = kinds.parse(f"[{text}]" if is_list else text, declared)
        reason = kinds.refusal(value, declared) or (
            "expected a list of at least one" if value == () else ""
        )
    except ValueError as error:
        reason = str(error)
    if reason:
        default = ",".join(flag.default) if is_list else flag.default
        raise TablesError(f"--{flag.name}={text}: {reason}, such as --{flag.name}={default}")
    return value


def _place(flag: flags.FlagHolder[Any]) -> pathlib.Path:
    if not flag.value.strip():
        raise TablesError(f"--{flag.name}= is empty: expected a path")
    return paths.place(flag.value)


def main(argv: Sequence[str]) -> None:
    """Runs; what a user can mend ends as one line on stderr and exit status 1, everything else with
    its traceback.
    """
    try:
        if len(argv) > 1 or _SAMPLES.value is None:
            raise TablesError(
                f"{' '.join(argv[1:]) or 'no --samples'}: expected --samples=PATH and further "
                "--flag=value; --help lists them"
            )
        problems, scores, tokenizer = (
            _place(flag) if flag.value is not None else None
            for flag in (_PROBLEMS, _SCORES, _TOKENIZER)
        )
        config = ReportConfig(
            ks=_taken(_KS, "report.ks"),
            resamples=_taken(_RESAMPLES, "report.resamples"),
            aggregation=cast(Any, _AGGREGATION.value),
            allow_missing=_ALLOW_MISSING.value,
        )
        how = external.Reading(_LAYOUT.value, layouts.parse_fields(_FIELDS.value))
        out, sources = _place(_OUT), Sources(_place(_SAMPLES), problems, scores, tokenizer, how)
        label = LabelConfig(
            cast(Any, _GRADER.value),
            _taken(_GRADER_SECONDS, "label.grader_seconds"),
            _FIX_LABELS.value,
        )
        table = rerank(sources, out, config, label, _taken(_SEED, "seed"), _OTHER_GENERATOR.value)
    except UserError as error:
        log.complain(error)
        sys.exit(1)
    log.tell(f"{table}\n\nreport:  {out / 'index.html'}\nfigures: {out / 'metrics.json'}")


def entry() -> None:
    app.run(main)


if __name__ == "__main__":
    entry()
