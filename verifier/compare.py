"""python -m verifier.compare: two or more runs side by side on their shared problems, without JAX.

    python -m verifier.compare RUN1 RUN2 ... [--out=DIR] [--split=test] [--seed=0]
        [--resamples=2000]

A run is a workdir with `report/metrics.json` and its tables; the others are compared with the
first. The page goes to ./comparison.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from verifier.system import stopping

if __name__ == "__main__":
    stopping.listen(goes_on=False)  # before all that takes time to import

from absl import app, flags

from verifier.config import Config, ReportConfig
from verifier.config import flags as knob_flags
from verifier.errors import UserError
from verifier.report.side_by_side import compare
from verifier.system import log, paths
from verifier.text.split import Split

_OUT = flags.DEFINE_string(
    "out", "comparison", "Folder for index.html, comparison.json and the charts."
)
_SPLIT = flags.DEFINE_string("split", "test", "Whose problems are compared.")
_SEED = flags.DEFINE_integer("seed", Config.seed, "Of the bootstrap and of drawn subsets.")
_RESAMPLES = flags.DEFINE_integer(
    "resamples", ReportConfig.resamples, "Of the bootstrap over problems."
)


def main(argv: Sequence[str]) -> None:
    """Runs the comparison.

    What a user can mend ends as one line on stderr and exit status 1, everything else with its
    traceback.
    """
    try:
        out = paths.to_path(_OUT.value)
        table = compare(
            [paths.to_path(word) for word in argv[1:]],
            out,
            Split.named(_SPLIT.value),
            knob_flags.value_of(_RESAMPLES, "report.resamples"),
            knob_flags.value_of(_SEED, "seed"),
        )
    except UserError as error:
        log.complain(error)
        sys.exit(1)
    log.tell(f"{table}\n\npage:    {out / 'index.html'}\nfigures: {out / 'comparison.json'}")


def entry() -> None:
    app.run(main)


if __name__ == "__main__":
    entry()
