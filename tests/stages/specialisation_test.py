"""The report of a student: BIG-Bench Hard by both of its graders, and sets kind by kind."""

import json

import pytest

from experiments import tiny_distill
from verifier import config as config_lib
from verifier.grading import graders
from verifier.recipes import distill
from verifier.report import specialisation_page
from verifier.run.context import Context
from verifier.stages import label, specialisation
from verifier.system import checksums
from verifier.tables import choices as choices_table
from verifier.tables import store

SETTINGS = """
ood.sets=[bbh,svamp] select.sets=[] select.by=heldout select.checkpoints=1
select.formats=[zero_shot_chain_of_thought] report.resamples=20
""".split()
# Of each set the source of its problems, the right answer, and what is written before training and
# by the checkpoint.
SETS = {
    "": [
        ("generated/chain", "18", "#### 17", "#### 18"),
        ("generated/chain", "18", "#### 17", "#### 17"),
        ("generated/price", "18", "#### 18", "#### 18"),
    ],
    "bbh": [
        ("bbh/formal_fallacies", "valid", "So the answer is valid.", "So the answer is invalid."),
        ("bbh/word_sorting", "a b", "The answer is b a.", "So the answer is a b."),
    ],
    "svamp": [("svamp", "18", "#### 18", "#### 18")],
}


def problems_of(split):
    return [
        {"problem_id": f"{split.set or split.of}{n}", "question": f"q{n}?", "solution": None}
        | {"answer": gold, "source": source, "split": str(split)}
        for n, (source, gold, *_) in enumerate(SETS[split.set])
    ]


def samples_of(split, candidate):
    made = {"sample_id": 0, "tokens": [1], "forced": [False], "logprobs": [0.0], "finish": "eos"}
    made |= {"generator": "g", "seed": 0, "calculator_errors": 0}
    return [
        made | {"problem_id": problem["problem_id"], "solution": row[2 + candidate]}
        for problem, row in zip(problems_of(split), SETS[split.set], strict=True)
    ]


def labels_of(split, candidate, grader):
    """As the stage label has them."""
    rows = SETS[split.set]
    graded = graders.relabel([row[2 + candidate] for row in rows], [row[1] for row in rows], grader)
    return [
        {"problem_id": problem["problem_id"], "sample_id": 0, "answer": said}
        | {"correct": bool(right), "grader": grader}
        for problem, said, right in zip(
            problems_of(split), graded.answers, graded.correct, strict=True
        )
    ]


def write(folder, table, rows):
    writer = store.TableWriter(folder, table, {})
    writer.append(rows)
    writer.finish({})


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """What metrics.json holds, and the page, of a student that was tested on all these."""
    root = tmp_path_factory.mktemp("specialisation")
    own = config_lib.override(tiny_distill.get_config(), SETTINGS)
    stages = distill.stages(own)
    for made in stages:
        for split in made.splits:
            folder = made.makes.folder(root / made.place, split)
            if made.name == "problems":
                write(folder, "problems", problems_of(split))
            elif made.name == "sample" and made.place.startswith("checkpoint"):
                write(folder, "samples", samples_of(split, int(made.place.split("=")[1][0])))
    for made in stages:
        if made.name == "label" and made.place.startswith("checkpoint"):
            for split in made.splits:
                grader = label.grader_of(own, split)
                rows = labels_of(split, int(made.place.split("=")[1][0]), grader)
                write(made.makes.folder(root / made.place, split), "labels", rows)
    report = stages[-1]
    choice, student = (report.reads[name].folder(root) for name in ("choices", "student"))
    kept = {"stage": "finetune", "candidate": "checkpoint=1", "criterion": "heldout"}
    choices_table.write(choice, [kept | {"value": 0.5, "chosen": True}], {})
    student.mkdir(parents=True)
    checksums.write_sealed(student / "manifest.json", {"finetune": {"steps": 4}, "settings": {}})
    specialisation.report(Context(own, root, report, stages))
    folder = root / "report"
    return json.loads((folder / "metrics.json").read_text()), (folder / "index.html").read_text()


def values(figures):
    return [each["value"] for each in figures["accuracy"]]


def test_words_are_read_by_both_graders(reported):
    metrics, page = reported
    (sets,) = metrics["formats"].values()
    assert sets["bbh"]["grader"] == "bbh" and values(sets["bbh"]) == [0.5, 0.5]
    (grader, lenient), *more = sets["bbh"]["beside"].items()
    assert grader == "bbh_substring" and not more
    assert values(lenient) == [0.5, 1.0]  # `invalid` holds `valid`
    assert lenient["minus_before"]["heldout"]["value"] == 0.5
    assert not sets["test"]["beside"] and not sets["svamp"]["beside"]
    table = specialisation_page.table(metrics)
    strict, other = (
        next(line for line in table.splitlines() if line.startswith(name))
        for name in ("bbh ", "  by bbh_substring")
    )
    assert "100.0" in other and "100.0" not in strict
    assert "by bbh_substring" in page and "graded by bbh above" in page


def test_sets_of_several_kinds_are_broken_down(reported):
    metrics, page = reported
    (sets,) = metrics["formats"].values()
    kinds = sets["test"]["kinds"]
    assert {kind: values(own) for kind, own in kinds.items()} == {
        "chain": [0.0, 0.5],
        "price": [1.0, 1.0],
    }
    assert [own["problems"] for own in kinds.values()] == [2, 1]
    assert set(sets["bbh"]["kinds"]) == {"formal_fallacies", "word_sorting"}
    assert not sets["svamp"]["kinds"]
    lines = [line.split()[0] for line in specialisation_page.table(metrics).splitlines() if line]
    assert lines[lines.index("test") + 1 :][:2] == ["chain", "price"]
    assert "test by kind of problem" in page
    many = {f"kind{n}": kinds["chain"] for n in range(9)}
    other = metrics | {"formats": {"zero_shot": {"test": sets["test"] | {"kinds": many}}}}
    table = specialisation_page.table(other)
    assert "the 9 kinds of test are on the page" in table and "kind0" not in table
