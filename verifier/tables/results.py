"""What a run leaves in its workdir, by name: where each result lies and which stage makes it.

    generator/  verifier/            models
    tables/NAME/split=SPLIT/         tables, each split a folder with a manifest of its own
    report/                          the page

A result's name is also the role under which manifests note the id of what they were made from.
"""

from __future__ import annotations

import dataclasses
import pathlib

from verifier.text.split import Split


@dataclasses.dataclass(frozen=True)
class Model:
    """A model folder."""

    name: str
    stage: str

    def folder(self, root: pathlib.Path, split: Split | None = None) -> pathlib.Path:
        """Where it lies in a workdir; a model is of all splits."""
        return root / self.name


@dataclasses.dataclass(frozen=True)
class Table:
    """A table, by split."""

    name: str
    stage: str

    def folder(self, root: pathlib.Path, split: Split | None = None) -> pathlib.Path:
        """Where a split of it lies in a workdir: `tables/samples/split=test`; None: all of them."""
        whole = root / "tables" / self.name
        return whole if split is None else whole / f"split={split}"

    def splits(self, root: pathlib.Path) -> list[Split]:
        """Those that a workdir has a folder of, finished or not, by name."""
        folders = sorted(each.name for each in self.folder(root).glob("split=*"))
        return [Split.named(name.removeprefix("split=")) for name in folders]


@dataclasses.dataclass(frozen=True)
class Page:
    """A report, which is written anew whenever it is asked for."""

    name: str
    stage: str

    def folder(self, root: pathlib.Path, split: Split | None = None) -> pathlib.Path:
        """Where it lies in a workdir."""
        return root / self.name


Result = Model | Table | Page

PROBLEMS = Table("problems", "problems")
GENERATOR = Model("generator", "finetune")
SAMPLES = Table("samples", "sample")
LABELS = Table("labels", "label")
VERIFIER = Model("verifier", "verify")
SCORES = Table("scores", "score")
REPORT = Page("report", "report")
