"""python -m verifier.rerank: no JAX, one line for a mistake."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import types

import pytest

from tests.rerank_test import GOOD, write_jsonl
from verifier import rerank
from verifier.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]


def test_the_command_runs_where_jax_cannot_be_imported(tmp_path: pathlib.Path) -> None:
    write_jsonl(tmp_path / "s.jsonl", GOOD)
    block = (
        "import sys\nfor name in ('jax', 'jaxlib', 'flax', 'torch', 'tensorflow', "
        "'matplotlib'): sys.modules[name] = None\n"
    )
    code = block + (
        "import runpy; sys.argv[0] = 'rerank'; runpy.run_module('verifier.rerank', "
        "run_name='__main__')"
    )
    command = [
        sys.executable,
        "-c",
        code,
        f"--samples={tmp_path / 's.jsonl'}",
        "--ks=1,2",
        "--resamples=20",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "best-of-n" in done.stdout and (tmp_path / "rerank-report" / "index.html").exists()
    more = subprocess.run(
        [*command, "--allow-missing", "--other-generator", "--aggregation=last"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
    )
    assert more.returncode == 0
    wrong = subprocess.run(
        [*command[:4], "--grader=numerik"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert wrong.returncode == 1 and wrong.stderr.startswith(
        "error: there is no grader 'numerik'; nearest: numeric"
    )


@pytest.mark.parametrize("command", ["rerank", "compare"])
@pytest.mark.parametrize(
    ("flag", "takes"),
    [
        ("--resamples=0", "1 to 100,000"),
        ("--resamples=1000000000000", "1 to 100,000"),
        ("--seed=-1", "0 to 9,223,372,036,854,775,807"),
    ],
)
def test_flags_out_of_range_are_one_line(
    tmp_path: pathlib.Path, command: str, flag: str, takes: str
) -> None:
    samples = write_jsonl(tmp_path / "s.jsonl", GOOD)
    given = {"rerank": [f"--samples={samples}"], "compare": ["one", "two"]}[command]
    done = subprocess.run(
        [sys.executable, "-m", f"verifier.{command}", *given, flag],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.startswith(
        f"error: {flag}: expected a whole number from {takes}, such as --"
    )
    assert done.stderr.count("\n") == 1 and sorted(tmp_path.iterdir()) == [samples]


def test_an_empty_flag_is_no_folder_of_its_own() -> None:
    for name in ("out", "samples", "scores"):
        with pytest.raises(UserError, match=f"--{name}= is empty: expected a path"):
            rerank._path(types.SimpleNamespace(name=name, value=" "))  # type: ignore[arg-type]


def test_flags_of_several_words_may_be_written_with_dashes() -> None:
    program = (
        "import importlib; from absl import app, flags\nfor module in ('launch', 'rerank', "
        "'export', 'compare', 'plan.__main__'):\n    before = set(flags.FLAGS); "
        "importlib.import_module(f'verifier.{module}'); own = set(flags.FLAGS) - before\n    "
        "print(module, sorted(name for name in own if name.replace('_', '-') not in own))\n    "
        "[delattr(flags.FLAGS, name) for name in own if name in flags.FLAGS]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and all(line.endswith(" []") for line in lines), (
        done.stdout + done.stderr
    )
