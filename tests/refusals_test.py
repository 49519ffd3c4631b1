"""What a run refuses before it makes anything, each with what is wrong and the way out."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests.shrunk import ROOT, config, context, run
from verifier import errors
from verifier.config import checks
from verifier.grading import math_process
from verifier.recipes import token_verifier
from verifier.run import stage
from verifier.tables import store
from verifier.text.split import TEST


def gsm8k_folder(folder, answer):
    folder.mkdir()
    for name in ("train", "test"):
        lines = [
            {
                "question": f"What is {n} and 1 in {name}?",
                "answer": f"It is {n + answer}.\n#### {n + answer}",
            }
            for n in range(12)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_workdir_is_not_used_for_other_data_under_the_same_settings(tmp_path):
    right, wrong = gsm8k_folder(tmp_path / "right", 1), gsm8k_folder(tmp_path / "wrong", 2)
    moved = pathlib.Path(shutil.copytree(right, tmp_path / "moved"))
    small = (
        "data.name=gsm8k",
        "data.train_problems=0",
        "data.test_problems=0",
        "data.heldout_problems=2",
    )

    def problems(folder):
        work = context(config(*small, f"data.dir={folder}"), tmp_path / "work", "problems")
        work.stage.do(work)
        return store.read_table(work.folder(TEST), "problems")

    assert problems(right) == problems(moved)
    with pytest.raises(errors.WorkdirError, match="other problems"):
        problems(wrong)


def test_a_stage_without_what_it_needs_names_the_stage_that_makes_it(tmp_path):
    with pytest.raises(errors.WorkdirError, match="finetune"):
        run(config(), tmp_path / "fresh", ["sample"])


def test_rows_longer_than_the_context_are_refused_by_the_stage_that_trains_on_them():
    longer = "model.context=256", "finetune.row_tokens=256", "verify.row_tokens=257"
    own = config(*longer, "dpo.row_tokens=257")  # of a job that this recipe does not have
    checks.check(own)
    stages = {each.name: each for each in token_verifier.stages(own)}
    stages["finetune"].refuse(own)
    with pytest.raises(errors.ConfigError, match="verify.row_tokens=257 .*model.context=256"):
        stages["verify"].refuse(own)


def test_a_grader_that_is_not_installed_is_refused_before_anything_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(math_process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.UserError, match="needs the package math-verify"):
        run(config("label.grader=math_verify"), tmp_path / "fresh", None)
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "model.layers=1000 model.width=65536 model.heads=512 model.kv_heads=512 "
            "model.mlp_width=1000000",
            "parameters, whose",
        ),
        ("mesh.data=3", "mesh.data=3"),
        ("verify.epochs=0", "verify.epochs=0.0 with verify.steps=0: .* not be trained at all"),
        ("data.prompt_template={}", "the prompt template"),
        ("ood.sets=[asdiv] ood.dirs=[WRONG]", r"ASDiv\.xml: no problem with a numeric answer"),
    ],
)
def test_what_some_stage_could_not_use_is_refused_before_the_first(tmp_path, more, said):
    (tmp_path / "ASDiv.xml").write_text("<html><body/></html>")
    assignments = more.replace("WRONG", str(tmp_path)).split()
    with pytest.raises(errors.UserError, match=said):
        run(config(*assignments), tmp_path / "work", None)
    made = (tmp_path / "work" / name for name in ("generator", "verifier", "config.json"))
    assert not any(path.exists() for path in made)


def test_an_unknown_stage_shows_the_nearest():
    with pytest.raises(errors.ConfigError, match="'sample'"):
        stage.chosen(token_verifier.stages(config()), ["smaple"])
    found = stage.chosen(token_verifier.stages(config()), ["report", "label"])
    assert [each.name for each in found] == ["label", "report"]


def test_main_answers_a_users_mistake_in_one_line():
    command = [
        sys.executable,
        "-m",
        "verifier.launch",
        "--exp=tiny_token_verifier",
        "--set",
        "sample.temprature=1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr.startswith("error: ")
        and len(done.stderr.strip().splitlines()) == 1
        and "sample.temperature" in done.stderr
    )
