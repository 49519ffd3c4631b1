"""python -m verifier.rerank: ranks, votes and reports on stored samples, without JAX.

    python -m verifier.rerank --samples=PATH [--problems=PATH] [--scores=PATH] [--out=DIR]
        [--ks=1,3,5,10] [--grader=numeric] [--grader_seconds=5] [--fix_labels]
        [--layout=auto] [--fields=question=problem,solution=completions] [--aggregation=last]
        [--tokenizer=PATH] [--allow-missing] [--other-generator]

PATH is a workdir, a table folder (with its neighbours `problems` and `scores`, unless they are
given), or a file made elsewhere, a folder or a quoted pattern of such files: Parquet, Arrow, CSV or
JSON, one solution or many a row, in a layout that is recognised (--layout) or told (--fields):
`question` or `problem_id`, `solution` and gold `answer` (there, or in --problems); `score`,
`likelihood`, `split` and `sample_id` are optional. All solutions are graded anew by --grader. The
report goes to ./rerank-report, so that neither a run's own report nor anybody's data folder is
written to.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any, cast

from verifier.evaluate import results_table
from verifier.system import stopping

if __name__ == "__main__":
    stopping.listen(goes_on=False)  # before all that takes time to import

from absl import app, flags

from verifier.config import LabelConfig, ReportConfig
from verifier.config import flags as knob_flags
from verifier.errors import TablesError, UserError
from verifier.grading import graders
from verifier.ingest import external, layouts
from verifier.ingest.sources import Sources, read
from verifier.report import writing
from verifier.report.aggregation import AGGREGATIONS, check_aggregation
from verifier.system import log, paths
from verifier.tables import provenance
from verifier.text.tokenizer import load_tokenizer

__all__ = ["Sources", "read", "rerank"]

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
    "grader", LabelConfig.grader, f"Who grades the solutions: {', '.join(graders.NAMES)}."
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
    "aggregation",
    ReportConfig.aggregation,
    f"A solution's score out of its token values: {', '.join(AGGREGATIONS)}.",
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
        label: who grades every solution, and by which gold answers.
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
    return results_table.results_table(writing.write(splits, about, config, seed, out))


def _workdir_of(path: pathlib.Path) -> pathlib.Path | None:
    """The workdir that a path to samples is, or lies in."""
    if not path.is_dir():
        return None
    # Links are not followed: a sweep's variants share results, but not a verifier or a name.
    above = paths.absolute(path).parents[:3]
    return next((root for root in (path, *above) if (root / "tables" / "samples").is_dir()), None)


def _path(flag: flags.FlagHolder[Any]) -> pathlib.Path:
    if not flag.value.strip():
        raise TablesError(f"--{flag.name}= is empty: expected a path")
    return paths.to_path(flag.value)


def main(argv: Sequence[str]) -> None:
    """Runs the command.

    What a user can mend ends as one line on stderr and exit status 1, everything else with its
    traceback.
    """
    try:
        if len(argv) > 1 or _SAMPLES.value is None:
            raise TablesError(
                f"{' '.join(argv[1:]) or 'no --samples'}: expected --samples=PATH and further "
                "--flag=value; --help lists them"
            )
        problems, scores, tokenizer = (
            _path(flag) if flag.value is not None else None
            for flag in (_PROBLEMS, _SCORES, _TOKENIZER)
        )
        config = ReportConfig(
            ks=knob_flags.value_of(_KS, "report.ks"),
            resamples=knob_flags.value_of(_RESAMPLES, "report.resamples"),
            aggregation=cast(Any, _AGGREGATION.value),
            allow_missing=_ALLOW_MISSING.value,
        )
        how = external.Reading(_LAYOUT.value, layouts.parse_fields(_FIELDS.value))
        out, sources = _path(_OUT), Sources(_path(_SAMPLES), problems, scores, tokenizer, how)
        label = LabelConfig(
            cast(Any, _GRADER.value),
            knob_flags.value_of(_GRADER_SECONDS, "label.grader_seconds"),
            _FIX_LABELS.value,
        )
        table = rerank(
            sources, out, config, label, knob_flags.value_of(_SEED, "seed"), _OTHER_GENERATOR.value
        )
    except UserError as error:
        log.complain(error)
        sys.exit(1)
    log.tell(f"{table}\n\nreport:  {out / 'index.html'}\nfigures: {out / 'metrics.json'}")


def entry() -> None:
    app.run(main)


if __name__ == "__main__":
    entry()
