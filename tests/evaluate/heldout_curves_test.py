"""How soon a job is where another one ends."""

import json

from verifier.evaluate import heldout_curves
from verifier.evaluate.heldout_curves import Curve


def write(path, values):
    """A log as training writes it: numbers of every step, and every tenth evaluated."""
    lines = [{"step": step, "loss": 1.0} for step in range(1, 10 * len(values) + 1)]
    lines += [
        {"step": 10 * n, "heldout_lm": value, "heldout_loss": 2 * value, "heldout_lm_share": 0.5}
        for n, value in enumerate(values, 1)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_level_is_reached_where_it_is_first_met():
    curve = Curve([10, 20, 30, 40], [0.9, 0.5, 0.4, 0.6])
    assert [curve.reaches(level) for level in (2, 0.9, 0.5, 0.45, 0.39)] == [10, 10, 20, 30, None]


def test_variants_are_held_against_the_base_of_their_seed(tmp_path):
    given = {
        ("base", 0): [0.9, 0.5, 0.6],
        ("base", 1): [0.9, 0.5, 0.3],
        ("soft", 0): [0.6, 0.2, 0.2],
        ("soft", 1): [0.8, 0.7, 0.4],
    }
    curves = {"base": {}, "soft": {}}
    for (name, seed), values in given.items():
        write(tmp_path / f"{name}{seed}.jsonl", values)
        curves[name][seed] = heldout_curves.read(tmp_path / f"{name}{seed}.jsonl")
    assert curves["base"][0]["lm"] == Curve([10, 20, 30], [0.9, 0.5, 0.6])
    curves["soft"][1]["alone"] = Curve([1], [0.0])  # a term that the base has not
    found = heldout_curves.compare(curves, "base")
    assert set(found) == {"lm"}
    reached = {
        (name, seed): point["reaches_base"]
        for name, of_seed in found["lm"].items()
        for seed, point in of_seed.items()
    }
    # the base itself was below its end before
    assert reached == {("base", "0"): 20, ("base", "1"): 30, ("soft", "0"): 10, ("soft", "1"): None}
    assert found["lm"]["base"]["0"] == {"last": 0.6, "least": 0.5, "steps": 30, "reaches_base": 20}
    text = heldout_curves.table("finetune", found, "base")
    assert "never" in text and "step 10" in text and "0.4000" in text


def test_a_job_without_a_log_has_no_curves(tmp_path):
    assert heldout_curves.read(tmp_path / "none.jsonl") == {}
