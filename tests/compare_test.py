"""Runs side by side: paired differences over the problems they share, a page that loads nothing,
and errors that name the run.
"""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests.browser import browser, needs_browser
from tests.report.report_test import CONFIG, make_workdir
from verifier.errors import UserError
from verifier.evaluate import comparison, rank
from verifier.evaluate.comparison import Contestant
from verifier.report import side_by_side, writing
from verifier.system import checksums
from verifier.tables import stored_splits
from verifier.tables.manifests import read_manifest
from verifier.text.split import TEST, TRAIN

ROOT = pathlib.Path(__file__).parents[1]


def run(root: pathlib.Path, seed: int = 0, scored: bool = True) -> pathlib.Path:
    make_workdir(root, seed=seed, scored=scored)
    writing.write_report(root, root / "report", CONFIG, seed=0)
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[pathlib.Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        run(folder / "one"),
        run(folder / "two", seed=1),
        run(folder / "bare", seed=2, scored=False),
    ]


def test_figures_are_those_of_the_runs_and_differences_are_paired(
    runs: list[pathlib.Path], tmp_path: pathlib.Path
) -> None:
    table = side_by_side.compare(runs, tmp_path, TEST, 50, 0)
    compared = json.loads((tmp_path / "comparison.json").read_text())
    assert compared["shared_problems"] == 15 and [one["name"] for one in compared["runs"]] == [
        "one",
        "two",
        "bare",
    ]
    for root, one in zip(runs, compared["runs"], strict=True):
        own = json.loads((root / "report" / "metrics.json").read_text())["splits"]["test"]
        for name, estimate in one["methods"].items():
            assert estimate["value"] == own[name]["value"], name
        assert one["curves"]["majority_at_k"].keys() == own["majority_at_k"].keys()
    one, two = (stored_splits.read_workdir(root)[TEST].candidates for root in runs[:2])
    apart = rank.best_of_n(two).correct_P.astype(float) - rank.best_of_n(one).correct_P
    assert compared["runs"][1]["differences"]["best_of_n"]["value"] == pytest.approx(apart.mean())
    assert (
        compared["runs"][0]["differences"] is None
        and "best_of_n" not in compared["runs"][2]["methods"]
    )
    assert compared["runs"][2]["curves"]["verifier_at_k"] is None
    assert table.splitlines()[0].split() == ["one", "two", "bare"] and "best-of-n" in table
    html = (tmp_path / "index.html").read_text()
    assert "<script" not in html and not re.search(
        r"https?://(?!www\.w3\.org/2000/svg)|url\(|@import", html
    )
    assert html.count("<figure>") == 3 and (tmp_path / "majority_at_k.svg").is_file()


def test_a_run_does_not_differ_from_itself(
    runs: list[pathlib.Path], tmp_path: pathlib.Path
) -> None:
    shutil.copytree(runs[0], tmp_path / "again")
    side_by_side.compare([runs[0], tmp_path / "again"], tmp_path / "out", TEST, 50, 0)
    compared = json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"][1]
    # Nothing is estimated of what is the same on every problem.
    assert compared["differences"] == {} != compared["methods"]


def test_only_shared_problems_count(runs: list[pathlib.Path]) -> None:
    rows = [stored_splits.read_workdir(root)[TEST].candidates for root in runs[:2]]
    names = rows[0].problem_id_P.tolist()
    some = [comparison._only(rows[0], set(names[:10])), comparison._only(rows[1], set(names[4:]))]
    compared = comparison.compare(
        [Contestant(str(index), one, 3, "numeric") for index, one in enumerate(some)], 20, 0
    )
    assert compared["shared_problems"] == 6 and [one["problems"] for one in compared["runs"]] == [
        10,
        11,
    ]
    expected = rank.majority(rows[0]).correct_P[4:10].mean()
    assert compared["runs"][0]["methods"]["majority"]["value"] == pytest.approx(expected)
    with pytest.raises(UserError, match="0 and 1 share no problem"):
        apart = [comparison._only(rows[0], set(part)) for part in (names[:5], names[5:])]
        comparison.compare(
            [Contestant(str(index), one, None, "numeric") for index, one in enumerate(apart)], 20, 0
        )


def test_what_is_missing_is_named(runs: list[pathlib.Path], tmp_path: pathlib.Path) -> None:
    with pytest.raises(UserError, match="1 runs to compare; expected 2 to 9"):
        side_by_side.compare(runs[:1], tmp_path, TEST, 20, 0)
    with pytest.raises(
        UserError, match=r"nowhere/report/metrics.json is not there; expected a finished run"
    ):
        side_by_side.compare([runs[0], tmp_path / "nowhere"], tmp_path, TEST, 20, 0)
    with pytest.raises(UserError, match="has no split 'train'; it has heldout, test"):
        side_by_side.compare(runs, tmp_path, TRAIN, 20, 0)


def test_tables_that_were_made_anew_after_the_report_are_named(
    runs: list[pathlib.Path], tmp_path: pathlib.Path
) -> None:
    changed = pathlib.Path(shutil.copytree(runs[1], tmp_path / "changed"))
    path = changed / "tables" / "samples" / "split=test" / "manifest.json"
    checksums.write_sealed(path, read_manifest(path.parent) | {"id": "0123456789abcdef"})
    with pytest.raises(
        UserError,
        match=(
            r"changed: samples/split=test were made anew after its report was written: run the "
            r"stage report"
        ),
    ):
        side_by_side.compare([runs[0], changed], tmp_path, TEST, 20, 0)
    writing.write_report(changed, changed / "report", CONFIG, seed=0)
    side_by_side.compare([runs[0], changed], tmp_path, TEST, 20, 0)


def test_runs_whose_folders_have_the_same_name_are_told_apart(tmp_path: pathlib.Path) -> None:
    assert side_by_side._names([tmp_path / "a" / "run", tmp_path / "b" / "run"]) == [
        "a/run",
        "b/run",
    ]
    assert side_by_side._names([tmp_path / "a" / "run", tmp_path / "b" / "other"]) == [
        "run",
        "other",
    ]


def test_the_command_runs_where_jax_cannot_be_imported(
    runs: list[pathlib.Path], tmp_path: pathlib.Path
) -> None:
    block = (
        "import sys\nfor name in ('jax', 'jaxlib', 'flax', 'torch', 'tensorflow'): "
        "sys.modules[name] = None\n"
    )
    code = block + (
        "import runpy; sys.argv[0] = 'compare'; runpy.run_module('verifier.compare', "
        "run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(runs[0]), str(runs[1]), "--resamples=20"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "best-of-n" in done.stdout and (tmp_path / "comparison" / "index.html").exists()
    wrong = subprocess.run(
        command[:4], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (
        wrong.returncode == 1
        and wrong.stderr.startswith("error: 1 runs to compare")
        and wrong.stderr.count("\n") == 1
    )


@needs_browser
def test_the_page_opens_in_a_browser_and_fits_a_phone(
    runs: list[pathlib.Path], tmp_path: pathlib.Path
) -> None:
    side_by_side.compare(runs, tmp_path, TEST, 50, 0)
    with browser(tmp_path / "profile") as driven:
        driven.open(tmp_path / "index.html")
        assert (
            driven.messages == []
            and driven.run("document.querySelectorAll('figure svg').length") == 3
        )
        driven.look(360, 740)
        driven.open(tmp_path / "index.html")
        assert driven.run("document.documentElement.scrollWidth") <= 360
