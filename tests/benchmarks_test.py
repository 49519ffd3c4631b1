"""The benchmarks' arithmetic, order and tables.

Nothing here measures, loads a model or needs the peers' environment.
"""

import json
import os
import pathlib
import re
import sys

import numpy as np
import pytest

from benchmarks import (
    contenders,
    figures,
    flips,
    goals,
    launches,
    needed,
    plots,
    reranking,
    results,
    tables,
    verify_worker,
    workload,
)
from benchmarks.growth import interleaved
from verifier.data.batches import Batch
from verifier.data.examples import lm_example
from verifier.errors import UserError
from verifier.stages import fitting
from verifier.system import checksums
from verifier.tables import store
from verifier.train.losses import lm

HOW = {"loss_on_question": False, "loss_on_forced": True}

# One layer, two query heads of width 4 that share one key/value head, a gated MLP of 16, ten ids.
TINY = needed.Sizes(
    layers=1,
    width=8,
    heads=2,
    kv_heads=1,
    head_width=4,
    mlp_width=16,
    vocab_size=10,
    mlp_matrices=3,
)
BLOCK = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16  # query, key and value, out, MLP
OUTPUT = 80


def test_parameters_by_hand():
    assert (TINY.block_parameters, TINY.output_parameters) == (BLOCK, OUTPUT)


@pytest.mark.parametrize(
    ("before", "tokens", "seen"), [(0, 3, 1 + 2 + 3), (5, 2, 6 + 7), (4, 0, 0)]
)
def test_pairs(before, tokens, seen):
    assert needed.pairs(before, tokens) == seen


def test_sampling_by_hand():
    found = needed.sampling(TINY, [3], [[[5, 6], [7]]], entry_bytes=4)
    # Read: the prompt's three tokens and the first token of the solution of two; drawn: both first
    # tokens from one row of logits, one more.
    seen = (1 + 2 + 3) + 4
    assert found.flops == 2 * BLOCK * (3 + 1) + 2 * OUTPUT * 2 + 4 * 2 * 4 * seen
    # Three tokens by two rows are two passes; a cached token has 2 x 4 numbers; the prompt of three
    # is read in each pass.
    assert found.bytes == 4 * (2 * (BLOCK + OUTPUT) + 8 * (1 + 3 * 2))


def test_what_samples_share_is_needed_once():
    alike = needed.sampling(TINY, [3], [[[5, 6, 7], [5, 6, 8]]], entry_bytes=4)
    one = needed.sampling(TINY, [3], [[[5, 6, 7]]], entry_bytes=4)
    apart = needed.sampling(TINY, [3], [[[5, 6, 7], [4, 6, 8]]], entry_bytes=4)
    assert alike == one and apart.flops > one.flops and apart.bytes > one.bytes


def test_distinct_prefixes_by_brute_force():
    random = np.random.default_rng(0)
    texts = [random.integers(0, 2, random.integers(0, 7)).tolist() for _ in range(12)]
    nodes = {tuple(text[: n + 1]) for text in texts for n in range(len(text))}
    # a pass reads the nodes of its depth, which see all that precede them
    seen = [{node[: n + 1] for node in nodes if len(node) == depth for n in range(depth)}
            for depth in range(1, 7)]  # fmt: skip
    assert needed.prefixes(texts) == (len(nodes), sum(map(len, nodes)), sum(map(len, seen)))


def test_scoring_and_training_by_hand():
    apart = needed.scoring(TINY, [2], [[[5], [6]]])
    assert apart.flops == 2 * (BLOCK + 8) * 4 + 32 * ((1 + 2) + 3 + 3)
    assert needed.training(TINY, [2, 1], weighed=1).flops == 3 * (
        2 * BLOCK * 3 + 2 * OUTPUT + 32 * (3 + 1)
    )


def test_thoughts_token_by_token():
    rows, window, (number, drawn, ahead) = 2, 3, (2, 1, 2)
    read = draw = seen_read = seen_draw = 0
    for token in range(window):  # of one row
        read, seen_read = read + 1, seen_read + token + 1
        for depth in number * [*range(1, drawn + 2 + ahead)]:
            read, seen_read = read + 1, seen_read + token + 1 + depth
            if depth <= drawn:  # the mark at the beginning is read to draw the first
                draw, seen_draw = draw + 1, seen_draw + token + 1 + depth
    logits, heads = window * (1 + number * (ahead + drawn)), window * number * ahead
    forward = 2 * BLOCK * read + 32 * seen_read + 2 * OUTPUT * logits
    forward += 2 * (2 * 8 * 8 + 8 * 8 + 8) * heads
    drawing = 2 * BLOCK * draw + 32 * seen_draw + 2 * OUTPUT * window * number * drawn
    found = needed.thoughts_training(TINY, rows, window, needed.Thoughts(number, drawn, ahead))
    assert found.flops == rows * (3 * forward + drawing)


def test_training_a_verifier_by_hand():
    found = needed.verifier_training(TINY, 2, [[5, 6], [5, 7]], [5, 6, 8])
    nodes, seen = 2 + 4, (1 + 2) + 3 + 4 + 4 + 5
    assert found.flops == 3 * (2 * (BLOCK + 8) * nodes + 2 * OUTPUT * 3 + 32 * seen)


def test_the_limit_that_binds():
    assert needed.seconds_at_limit(needed.Needed(100.0, 10.0), 10.0, 10.0) == 10.0
    assert needed.seconds_at_limit(needed.Needed(100.0, 500.0), 10.0, 10.0) == 50.0


def test_turns_are_interleaved():
    assert interleaved(["a", "b"], 2) == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


def test_ratio_pairs_the_rounds():
    found = results.ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0])
    assert found == {"of_medians": 2.0, "low": 1.0, "high": 3.0}


def test_the_best_of_this_project_is_compared_with_all_others():
    def contender(*rates):
        return {"runs": [{"rate": rate} for rate in rates]}

    found = {
        "verifier": contender(1.0, 2.0),
        "verifier-bfloat16": contender(4.0, 3.0),
        "verifier-before": contender(9.0, 9.0),  # another kind: it does not stand for this state
        "peer": contender(2.0, 2.0),
        "broken": {"runs": [{"rate": 1.0}], "error": "gone"},
    }
    compared = results.compared(found, "rate")
    assert compared["best"] == "verifier-bfloat16"
    assert compared["ratios"].keys() == {"verifier", "verifier-before", "peer"}
    assert compared["ratios"]["peer"] == {"of_medians": 1.75, "low": 1.5, "high": 2.0}


def test_names_end_in_a_precision():
    assert contenders.kind("llama.cpp-bfloat16") == "llama.cpp"
    assert contenders.kind("verifier-before") == "verifier-before"
    assert contenders.precision("verifier-bfloat16", "float32") == "bfloat16"
    assert contenders.precision("verifier-before", "float32") == "float32"


def test_flips_are_counted_up_to_the_first_difference(monkeypatch):
    monkeypatch.setattr(flips, "is_near_tie", lambda rule, key, one, other: key == ("p", 1))
    here = {("p", 0): [1, 2, 3], ("p", 1): [1, 2, 3], ("p", 2): [4], ("q", 0): [1]}
    there = {("p", 0): [1, 2, 3], ("p", 1): [1, 9, 3], ("p", 2): [5]}
    found = flips.counted(here, there, None)
    assert (found["samples"], found["flips"], found["near_ties"]) == (3, 2, 1)
    assert found["tokens"] == 3 + 2 + 1
    assert found["low"] < found["per_million"] == 2e6 / 6 < found["high"]


def test_poisson_interval_by_tables():  # Garwood 1936; Pearson and Hartley, table 40
    assert flips.poisson_interval(0) == pytest.approx((0.0, 3.689), abs=1e-3)
    assert flips.poisson_interval(3) == pytest.approx((0.619, 8.767), abs=1e-3)


def test_published_texts_name_no_folder():
    text = contenders.without_folders(
        "--model=/a/b/generator --to ../c/d.py runs/e 'No such file: /f/g/h.txt'"
    )
    assert text == "--model=generator --to d.py runs/e 'No such file: h.txt'"


def test_results_hold_no_folder_of_a_machine():
    for path in results.FOLDER.glob("*.json"):
        command = json.loads(path.read_text())["command"]
        assert not re.search(r"[= ]/", command), path


def test_rows_come_back(tmp_path):
    ends = np.array([[2, 2, 3, 0], [4, 4, 4, 4]], np.int32)
    positions = np.array([[0, 1, 0, 0], [0, 1, 2, 3]], np.int32)
    batch = Batch(ends, positions, ends, {"lm_weight": ends})
    assert workload.example_lengths(batch) == [2, 1, 4]
    workload.write_rows(tmp_path / "rows.npz", [batch._replace(tokens_BT=positions), batch])
    (found,) = workload.read_rows(str(tmp_path / "rows.npz"), 1, 1)
    assert np.array_equal(found.tokens_BT, ends) and np.array_equal(found.positions_BT, positions)
    assert np.array_equal(found.targets["lm_weight"], ends)


def test_missing_solutions_say_the_way_out(tmp_path):
    with pytest.raises(UserError, match="run benchmarks.sampling first"):
        workload.read_drawn(tmp_path / "none", 1, 1)


def test_solutions_come_back(tmp_path):
    drawn = workload.Drawn([workload.Question("p", [1, 2])], [[[3], [4, 5]]])
    workload.write_drawn(tmp_path / "some", drawn)
    assert workload.read_drawn(tmp_path / "some", 1, 1) == workload.Drawn(drawn.questions, [[[3]]])


def test_tables_of_nothing_claim_nothing():
    page = tables.page([])
    assert page.count(figures.MISSING) == 2 * len(goals.GOALS)


def result(job, contender_runs, ratios):
    machine = {"cpu": "C", "cores_used": 2, "memory_gib": 8, "gpu": None}
    rates = {
        name: results.summary([run["tokens_per_second"]]) for name, run in contender_runs.items()
    }
    found = {
        name: {"runs": [run], "tokens_per_second": rates[name]}
        for name, run in contender_runs.items()
    }
    about = {
        "job": job,
        "date": "2026-01-01 00:00 UTC",
        "machine": machine,
        "revision": "r",
        "command": "c",
        "model": "m",
        "dtype": "float32",
    }
    return {**about, "contenders": found, "ratios": ratios}


def test_a_share_takes_the_limit_that_was_measured_nearest_in_time():
    early, late = (result("limits", {}, {}) | {"date": f"2026-01-0{n} 10:00 UTC"} for n in (1, 5))
    found = result("training", {}, {}) | {"date": "2026-01-04 09:00 UTC"}
    elsewhere = late | {"machine": late["machine"] | {"cores_used": 1}, "date": found["date"]}
    every = [early, elsewhere, late]
    assert figures.limits_of(every, found, "float32") is late
    assert figures.limits_of(every, early, "float32") is early
    assert figures.limits_of(every, found, "bfloat16") is None


def test_solutions_that_are_aligned_have_a_row_a_way():
    found = result("aligning", {}, {}) | {"solutions": 4000, "teacher_tokens": 60.0}
    del found["contenders"], found["ratios"]  # which that job has not
    found["points"] = [
        {"way": way, "student_tokens": 67.4, "rate": results.summary(rates), "each": rates}
        for way, rates in (("bytes", [2400.0, 2600.0, 2500.0]), ("dtw", [980.0]))
    ]
    page = tables.page([found])
    assert "| >= 2,000 | 2,500 bytes; 980 dtw |" in page
    assert "4,000 solutions of 60 tokens of the teacher" in page and "| bytes | 67 | 2,500" in page


def test_shares_and_ratios_are_shown():
    memory = {"device_peak_of_process": None, "peak": 2**30}
    run = {
        "seconds": 4.0,
        "tokens_per_second": 1234.0,
        "memory": memory,
        "needed": {"flops": 20.0, "bytes": 0.0},
    }
    ratio = {"of_medians": 2.5, "low": 2.0, "high": 3.0}
    found = result(
        "fixed_length",
        {"verifier": run, "transformers": run},
        {"transformers": ratio},
    )
    found["contenders"]["llama.cpp"] = {"runs": [], "error": "broken"}
    limits = {
        **result("limits", {}, {}),
        "limit": {"flops_per_second": 10.0, "bytes_per_second": 1.0},
        "shapes": [],
        "read_mib": 1,
    }
    page = tables.page([limits, found])
    assert "| transformers | 1,234 |  | 50% | 1 | 2.50x (2.00 to 3.00) |" in page
    assert "(b) tokens/s over the best peer | >= 4x | 1.00x (1.00 to 1.00) verifier over tr" in page
    assert "| llama.cpp | failed: broken |" in page
    other = {**limits, "machine": {**limits["machine"], "cpu": "another"}}
    assert "no limit measured" in tables.page([other, found])
    found["contenders"]["transformers"]["dtype"] = "bfloat16"
    narrow = {**limits, "dtype": "bfloat16", "limit": {**limits["limit"], "flops_per_second": 20.0}}
    page = tables.page([narrow, limits, found])  # each has the limit of its own precision
    assert "| transformers | 1,234 |  | 25% |" in page and "| verifier | 1,234 |  | 50% |" in page


def test_round_ticks():
    assert list(plots.round_ticks(7.2).values()) == ["0", "2", "4", "6", "8"]
    assert list(plots.round_ticks(0.3))[-1] >= 0.3


def test_plot_draws_every_point(tmp_path):
    rows = [
        {
            "value": n,
            **{key: results.summary([n * 2.0**30]) for key in ("seconds", "peak", "beyond_model")},
        }
        for n in (1, 8)
    ]
    files = plots.write(rows, "samples", pathlib.Path(tmp_path / "growth.json"))
    assert [file.name for file in files] == ["growth-seconds.svg", "growth-gib.svg"]
    assert files[1].read_text().count("<circle") == 4


def test_tables_whose_making_was_broken_off_are_made_anew(tmp_path, monkeypatch):
    whole = reranking.made_tables(tmp_path / "whole", "workdir", 2, 20)
    append = store.TableWriter.append

    def dying(self, rows):
        append(self, rows)
        if self.table == "scores":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.TableWriter, "append", dying)
        reranking.made_tables(tmp_path / "broken", "workdir", 2, 20)
    again = reranking.made_tables(tmp_path / "broken", "workdir", 2, 20)
    for name in store.SCHEMAS:
        one, other = (
            store.read_manifest(root / "tables" / name / "split=test")["id"]
            for root in (whole, again)
        )
        assert one == other


def test_a_stages_steps_are_read_from_what_it_says():
    said = fitting.amounts([lm_example([1], [2], [False], **HOW)], 1234, lm.loss(3))
    assert verify_worker.steps_in_all(f"== verify\nverify: {said}\nverify: 1/1,234 steps") == 1234


def test_a_run_is_shown_in_another_precision(tmp_path):
    there, here = tmp_path / "run", tmp_path / "shown"
    for part in ("generator", "tables/samples"):
        (there / part).mkdir(parents=True)
        (there / part / "content").write_text(part)
    settings = {"seed": 0, "model.dtype": "float32"}
    checksums.write_sealed(there / "generator/manifest.json", {"id": "g", "settings": settings})
    run = launches.Run(str(there), "e", [])
    run.linked(here, ["generator", "tables"], "bfloat16")
    assert (here / "tables/samples/content").read_text() == "tables/samples"
    shown = store.read_manifest(here / "generator")
    assert shown == {"id": "g", "settings": {**settings, "model.dtype": "bfloat16"}}
    assert store.read_manifest(there / "generator") == {"id": "g", "settings": settings}
    with pytest.raises(UserError, match="has no verifier"):
        run.linked(tmp_path / "other", ["verifier"], "float32")


def test_a_command_that_fails_says_its_last_words(tmp_path):
    words = [sys.executable, "-c", "import sys; sys.exit('gone')"]
    with pytest.raises(UserError, match="gone"):
        launches.finished(words, tmp_path, os.environ, tmp_path / "said")
    found = launches.finished(
        [sys.executable, "-c", "pass"], tmp_path, os.environ, tmp_path / "said"
    )
    assert found["memory"]["peak"] > 2**20
