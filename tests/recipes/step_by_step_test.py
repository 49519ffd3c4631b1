"""Students of a label and its rationale: the same batches for two of them, one page for all."""

import json

import pytest

from experiments import tiny_step_by_step
from tests.shrunk import made_once, rows
from verifier import config as config_lib
from verifier.config import checks
from verifier.errors import ConfigError, ProblemError
from verifier.recipes import step_by_step
from verifier.stages import runner
from verifier.stages import step_by_step as student

SMALL = """
data.train_problems=16 data.heldout_problems=6 data.test_problems=8
finetune.steps=3 finetune.batch_rows=2 finetune.row_tokens=384 sample.max_new_tokens=24
step_by_step.train_shares=[0.5]
""".split()


def config(*more):
    return config_lib.override(tiny_step_by_step.get_config(), [*SMALL, *more])


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A finished run. Nobody changes it."""

    def make(folder):
        own = config()
        runner.run(step_by_step.stages(own), own, folder / "work")

    return made_once(tmp_path_factory, "step_by_step", make) / "work"


def logged(root, method):
    lines = (root / f"{method},share=0.5/logs/finetune.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_students_of_labels_read_the_same_batches_and_differ_by_the_loss_alone(taught):
    both = [
        [line for line in logged(taught, method) if "predict_share" in line]
        for method in ("multi_task", "label_only")
    ]
    for one, other in zip(*both, strict=True):
        assert one["predict_share"] == other["predict_share"]
    assert both[0][0]["predict"] == both[1][0]["predict"]  # before the first step
    assert "explain" in both[0][0] and "explain" not in both[1][0]


def test_the_page_tells_what_the_labels_say(taught):
    found = json.loads((taught / "report/metrics.json").read_text())["splits"]["test"]
    for one in found["students"]:
        place = taught / f"{one['method']},share=0.5/tables/labels/split=test_greedy"
        kept = [row["correct"] for row in rows(place)]
        assert one["accuracy"]["value"] == pytest.approx(sum(kept) / len(kept), abs=1e-6)
    assert (taught / "report/index.html").is_file()


def test_who_loads_a_student_is_told_how_to_ask_it(taught):
    for method, prompt in (
        ("label_only", "predict: {question}\n"),
        ("single_task", "{question}\n"),
    ):
        path = taught / f"{method},share=0.5/generator/manifest.json"
        assert json.loads(path.read_text())["template"]["prompt"] == prompt


def test_templates_and_lists_that_cannot_be_are_refused():
    with pytest.raises(ProblemError, match="predict"):
        student.check(config("step_by_step.predict=what?"))
    with pytest.raises(ConfigError, match="sample.greedy=true"):
        student.check(config("sample.greedy=false"))
    with pytest.raises(ConfigError, match="svamp_equations"):
        student.check(config("step_by_step.label=equation", "distill.teacher=somebody"))
    for knob in ("methods", "train_shares"):
        with pytest.raises(ConfigError, match=f"step_by_step.{knob}.* at least"):
            checks.check(config(f"step_by_step.{knob}=[]"))
