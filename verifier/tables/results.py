"""What a run leaves in its workdir, by name: where each result lies and which stage makes it.

    generator/  verifier/            models
    tables/NAME/split=SPLIT/         tables, each split a folder with a manifest of its own
    corpus/split=SPLIT/              texts as windows of tokens, likewise
    report/                          the page

A result's name is also the role under which manifests note the id of what they were made from.
"""

from __future__ import annotations

import dataclasses
import pathlib

from verifier.text.split import Split

_SPLIT = "split="


def split_folder(split: Split) -> str:
    """The name of a split's folder, in whatever table: `split=test`."""
    return f"{_SPLIT}{split}"


def split_of(folder: pathlib.Path) -> Split | None:
    """The split whose folder this is by its name; None where it is none's."""
    name = folder.name
    return Split.named(name.removeprefix(_SPLIT)) if name.startswith(_SPLIT) else None


def splits_in(table: pathlib.Path) -> list[Split]:
    """The splits that a table's folder has folders of, by name."""
    folders = sorted(table.glob(f"{_SPLIT}*"))
    return [split for folder in folders if folder.is_dir() and (split := split_of(folder))]


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
        return whole if split is None else whole / split_folder(split)

    def splits(self, root: pathlib.Path) -> list[Split]:
        """Those that a workdir has a folder of, finished or not, by name."""
        return splits_in(self.folder(root))


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Texts as windows of tokens (`data.windows`), or numbers of each of these, by split."""

    name: str
    stage: str

    def folder(self, root: pathlib.Path, split: Split | None = None) -> pathlib.Path:
        """Where a split of it lies in a workdir: `corpus/split=train`; None: all of them."""
        whole = root / self.name
        return whole if split is None else whole / split_folder(split)


@dataclasses.dataclass(frozen=True)
class Page:
    """A report, which is written anew whenever it is asked for."""

    name: str
    stage: str

    def folder(self, root: pathlib.Path, split: Split | None = None) -> pathlib.Path:
        """Where it lies in a workdir."""
        return root / self.name


Result = Model | Table | Corpus | Page

PROBLEMS = Table("problems", "problems")
GENERATOR = Model("generator", "finetune")
SAMPLES = Table("samples", "sample")
LABELS = Table("labels", "label")
VERIFIER = Model("verifier", "verify")
SCORES = Table("scores", "score")
STEPS = Table("steps", "rollouts")
SEARCH = Table("search", "search")
RAIN = Table("rain", "rain")
DIRECT = Table("direct", "direct")
REPORT = Page("report", "report")
# In the order in which a run makes them; the problems take no time of their own.
RESULTS: tuple[Model | Table, ...] = (
    GENERATOR,
    SAMPLES,
    LABELS,
    STEPS,
    VERIFIER,
    SCORES,
    SEARCH,
    RAIN,
    DIRECT,
)
