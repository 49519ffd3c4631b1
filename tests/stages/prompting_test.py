"""How problems are put: what a result depends on, and that no question stands among its own
exemplars.
"""

import json

import pytest

from experiments import tiny_distill
from verifier import config as config_lib
from verifier.errors import DataError
from verifier.recipes import distill, teaching
from verifier.run import inputs, workdir
from verifier.run.context import Context
from verifier.stages import problems, prompting
from verifier.system import checksums
from verifier.tables import manifests
from verifier.text.problem import make_problem
from verifier.text.split import TRAIN


def config(*more):
    return config_lib.override(tiny_distill.get_config(), more)


def written(folder, count):
    path = folder / "exemplars.jsonl"
    rows = [{"question": f"q{n}?", "solution": f"s\nThe answer is {n}"} for n in range(count)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def in_file(path, shots):
    """The way a teacher is asked that is shown exemplars of a file."""
    more = f"distill.exemplars={path}", f"distill.teacher_shots={shots}"
    own = config("distill.teacher_format=in_context_chain_of_thought", *more)
    return own, teaching.by_teacher(own, problems.stage(own)).samples


@pytest.mark.parametrize(("count", "shown"), [(3, ["q1?", "q2?"]), (2, ["q1?"])])
def test_a_question_is_not_shown_among_the_exemplars_of_a_file(tmp_path, monkeypatch, count, shown):
    own, stage = in_file(written(tmp_path, count), 2)
    monkeypatch.setattr(Context, "problems", lambda *_: [])
    context, flat = Context(own, tmp_path, stage, []), config_lib.flatten(own)
    name = own.distill.teacher_format
    asked = prompting.Questions(context, name, 2, flat["distill.exemplars"])
    own_question = make_problem(" q0?", None, "0", "fake", "train")
    text = asked.text(own_question)
    assert [each for each in ("q0?", "q1?", "q2?") if f"Q: {each}\n" in text] == shown
    other = asked.text(make_problem("q9?", None, "0", "fake", "train"))
    assert "Q: q0?\n" in other and "Q: q1?\n" in other and "q2?" not in other


def test_another_way_of_asking_and_another_file_are_other_samples(tmp_path):
    plain, zero = (
        config(f"distill.teacher_format={name}") for name in ("plain", "zero_shot_chain_of_thought")
    )
    told = [
        teaching.by_teacher(own, problems.stage(own)).samples.settings(own, TRAIN)
        for own in (plain, zero)
    ]
    assert told[0] != told[1]
    path = written(tmp_path, 2)
    own, stage = in_file(path, 2)
    settings = stage.settings(own, TRAIN)
    assert settings["distill.exemplars"] == str(path)
    sums = {"distill.exemplars": checksums.of_files(tmp_path, [path.name])}
    folder = tmp_path / "table"
    folder.mkdir()
    noted = {"id": "x", "settings": settings, "inputs": sums}
    checksums.write_sealed(folder / manifests.MANIFEST, noted)
    assert workdir.is_done(folder, settings, stage.files)
    written(tmp_path, 3)
    with pytest.raises(workdir.WorkdirError, match="has changed since"):
        workdir.is_done(folder, settings, stage.files)


def test_files_that_are_missing_are_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("BBH_PROMPTS_DIR", raising=False)
    own, stage = in_file(written(tmp_path, 1), 2)
    with pytest.raises(DataError, match="teacher_shots=2"):
        stage.refuse(own)
    own = config("ood.sets=[backwards,bbh]")
    in_context = [
        each
        for each in distill.stages(own)
        if each.place == "checkpoint=1/" + own.select.formats[1]
    ]
    with pytest.raises(DataError, match="BBH_PROMPTS_DIR"):
        in_context[0].refuse(own)


def test_prompts_of_bbh_that_were_changed_are_other_samples(tmp_path):
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "snarks.txt").write_text("Tell.\n")
    own = config("ood.sets=[backwards,bbh]", f"ood.bbh_prompts={prompts}")
    name = own.select.formats[1]
    stages = [each for each in distill.stages(own) if each.place == f"checkpoint=1/{name}"]
    stage = next(each for each in stages if each.name == "sample")
    settings = stage.settings(own, stage.splits[0])
    sums = inputs.sums(own, stage.named(own))
    assert list(sums["ood.bbh_prompts"]) == ["snarks.txt"]
    folder = tmp_path / "table"
    folder.mkdir()
    noted = {"id": "x", "settings": settings, "inputs": sums}
    checksums.write_sealed(folder / manifests.MANIFEST, noted)
    assert workdir.is_done(folder, settings, stage.files)
    moved = prompts.rename(tmp_path / "moved")
    elsewhere = settings | {"ood.bbh_prompts": str(moved)}
    assert workdir.is_done(folder, elsewhere, stage.files)
    (moved / "snarks.txt").write_text("Say.\n")
    with pytest.raises(workdir.WorkdirError, match=r"ood\.bbh_prompts"):
        workdir.is_done(folder, elsewhere, stage.files)
