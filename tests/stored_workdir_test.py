"""Results that version 0.1.0 made are used again as they are: a stored sweep of a tiny experiment
goes on, is judged again, compared and exported, and gives what it gave then.

testdata/workdir_0_1/README.md says how it was made. Only commands, `verifier.api` and files are
used here, so that the inside may move.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.shrunk import rows
from verifier import api

ROOT = pathlib.Path(__file__).parents[1]
STORED = ROOT / "tests" / "testdata" / "workdir_0_1"
BASE = pathlib.Path("sweep", "seed=0", "base")
RUNS = [BASE, BASE.with_name("linear"), BASE.with_name("warm")]
RESULTS = ("generator", "verifier", "tables")
SPLITS = ("train", "heldout", "test", "test_greedy", "test_svamp", "test_svamp_greedy")
SCORED = ("heldout", "test", "test_svamp")
SUMS = {
    name: digest for digest, name in map(str.split, (STORED / "SHA256SUMS").open(encoding="utf-8"))
}
# A run of today may know more knobs and other versions than one of then.
VOLATILE = re.compile(
    r'(?<=<p class="meta"><span>)[^<]*'  # the date
    r"|<section>\s*<h2>Settings</h2>.*?</section>"
    r'|(?<="config_hash": ")\w*',
    re.DOTALL,
)
LATER = re.compile("likeliest|likelihood")
# Figures that another CPU's rounding moves by a whole sample: where values at single tokens are
# ranked, for those of texts that begin alike are equal, and where the edge of a bin decides.
DELICATE = ("by_position", "aggregations", "aggregation_chosen", "ece", "reliability")


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a file, less what is told since then; of metrics.json without the hash of the
    settings, which grow.
    """
    content = path.read_bytes()
    if path.name == "metrics.json":
        text = json.dumps(as_then(json.loads(content)), indent=1, ensure_ascii=False) + "\n"
        content = VOLATILE.sub("", text).encode()
    elif path.suffix == ".jsonl":
        lines = map(json.loads, content.splitlines())
        content = b"".join(
            json.dumps(as_then(line), ensure_ascii=False).encode() + b"\n" for line in lines
        )
    return hashlib.sha256(content).hexdigest()


def as_then(value: Any) -> Any:
    """JSON less figures and fields that 0.1.0 had not."""
    if isinstance(value, list):
        return [each for each in value if not (isinstance(each, str) and LATER.search(each))]
    if not isinstance(value, dict):
        return value
    return {name: as_then(each) for name, each in value.items() if not LATER.search(name)}


def command(folder: pathlib.Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"verifier.{module}", *words],
        cwd=folder,  # the stored paths are relative
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


def succeed(folder: pathlib.Path, module: str, *words: str) -> str:
    done = command(folder, module, *words)
    assert done.returncode == 0, done.stderr
    return done.stderr


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of JSON or of a row by path, less the DELICATE ones."""
    if isinstance(value, (dict, list)):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            if name not in DELICATE:
                yield from leaves(each, f"{path}/{name}")
    else:
        yield path, value


def near(value: Any) -> Any:
    """Equal but for what another CPU's floats may differ by."""
    return pytest.approx(dict(leaves(value)), abs=1e-4)


def entries(folder: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """What lies in a folder: where a link leads; bytes and time of change of a file."""
    return {
        path.relative_to(folder).as_posix(): (path.readlink(),)
        if path.is_symlink()
        else (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))  # which follows no links
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The stored folder, as a copy that stays as it is."""
    return pathlib.Path(
        shutil.copytree(STORED, tmp_path_factory.mktemp("before") / "then", symlinks=True)
    )


@pytest.fixture(scope="module")
def resumed(
    before: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, str]:
    """A copy in which the sweep has been started again, and what it said."""
    folder = tmp_path_factory.mktemp("resumed") / "now"
    shutil.copytree(before, folder, symlinks=True)
    return folder, succeed(folder, "launch", "--exp=sweep:small_exp.py", "--workdir=sweep")


def test_every_result_is_used_again_and_none_is_rewritten(
    before: pathlib.Path, resumed: tuple[pathlib.Path, str]
) -> None:
    folder, said = resumed
    for run, of_run in zip(RUNS, said.split("==== ")[1:], strict=True):
        lines = of_run.splitlines()
        assert lines[0] == str(run)
        results = [
            "finetune",
            "verify",
            *(f"{stage} {split}" for stage in ("sample", "label") for split in SPLITS),
        ]
        results += [f"score {split}" for split in SCORED]
        done = [line.partition(": already done")[0] for line in lines if ": already done" in line]
        assert sorted(done) == sorted(results), run
        for name in RESULTS:
            then, now = entries(before / run / name), entries(folder / run / name)
            assert then.keys() == now.keys()
            assert [path for path in then if then[path] != now[path]] == []
        assert (folder / run / "generator").is_symlink() == (run != BASE)


def test_reports_and_the_comparison_are_what_they_were(
    before: pathlib.Path, resumed: tuple[pathlib.Path, str]
) -> None:
    folder, _ = resumed
    for name in (BASE / "report" / "metrics.json", "sweep/compare/heads/comparison.json"):
        assert digest(folder / name) == digest(before / name), name
    for run in RUNS:
        then, now = (
            json.loads((each / run / "config.json").read_text()) for each in (before, folder)
        )
        assert {knob: now["settings"][knob] for knob in then["settings"]} == then["settings"]
    made = [name for name in SUMS if name.startswith("sweep/")]
    assert {name: digest(folder / name) for name in made} == {name: SUMS[name] for name in made}


def test_reranking_and_comparing_give_what_they_gave(resumed: tuple[pathlib.Path, str]) -> None:
    folder, _ = resumed
    succeed(folder, "rerank", f"--samples={BASE}", "--out=rerank")
    succeed(folder, "compare", *map(str, (BASE, RUNS[2])), "--out=compared")
    assert digest(folder / "rerank/metrics.json") == SUMS["rerank/metrics.json"]
    stored = folder / "compare" / "comparison.json"
    assert (folder / "compared" / "comparison.json").read_bytes() == stored.read_bytes()


def test_exports_are_what_they_were(resumed: tuple[pathlib.Path, str]) -> None:
    folder, _ = resumed
    for model in ("generator", "verifier"):
        succeed(folder, "export", f"--model={BASE / model}", f"--to=exported-{model}")
    succeed(folder, "export", f"--scored={BASE}", "--to=exported.jsonl")
    made = [name for name in SUMS if name.startswith("exported")]
    assert {name: digest(folder / name) for name in made} == {name: SUMS[name] for name in made}


@pytest.mark.parametrize("run", RUNS[:2], ids=["reserved_logit", "linear"])
def test_the_api_gives_the_stored_scores(before: pathlib.Path, run: pathlib.Path) -> None:
    tables = before / run / "tables"
    question = {
        each["problem_id"]: each["question"] for each in rows(tables / "problems" / "split=test")
    }
    drawn, scored = (rows(tables / name / "split=test")[:6] for name in ("samples", "scores"))
    assert [each["sample_id"] for each in drawn] == list(range(6))  # of one problem
    verifier = api.load(before / run / "verifier")
    given = verifier.score(question[drawn[0]["problem_id"]], [each["tokens"] for each in drawn])
    for now, then in zip(given, scored, strict=True):
        assert now.score == pytest.approx(then["score"], abs=1e-4)
        assert now.token_values == pytest.approx(then["token_scores"], abs=1e-4)


def test_what_is_missing_is_made_again_as_it_was(
    before: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = pathlib.Path(shutil.copytree(before, tmp_path / "now", symlinks=True))
    tables = folder / BASE / "tables"
    for gone in (tables / "labels", tables / "scores", folder / BASE / "report"):
        shutil.rmtree(gone)
    said = succeed(folder, "launch", "--exp=small_exp.py", f"--workdir={BASE}")
    assert said.count("already done") == 2 + len(SPLITS)  # finetune, verify and sample
    for split in SPLITS:
        name = f"tables/labels/split={split}"
        assert rows(folder / BASE / name) == rows(before / BASE / name)
    for split in SCORED:
        name = f"tables/scores/split={split}"
        assert dict(leaves(rows(folder / BASE / name))) == near(rows(before / BASE / name))
    then, now = (
        json.loads((each / BASE / "report" / "metrics.json").read_text())["splits"]
        for each in (before, folder)
    )
    assert dict(leaves(as_then(now))) == near(then)


def test_another_setting_is_refused_with_the_difference(
    before: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    folder = pathlib.Path(shutil.copytree(before, tmp_path / "now", symlinks=True))
    words = ("--exp=small_exp.py", f"--workdir={BASE}", "--set", "verify.epochs=5")
    done = command(folder, "launch", *words)
    assert done.returncode == 1
    assert f"error: {BASE / 'verifier'} was made with other settings" in done.stderr
    assert "verify.epochs: 4.0 there, 5.0 now" in done.stderr
    assert entries(folder / BASE / "verifier") == entries(before / BASE / "verifier")
