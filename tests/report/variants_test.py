"""Variants are compared problem by problem: against means by hand, whatever problems two of them
share, over seeds.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from tests.report.report_test import make_workdir
from verifier.config import ReportConfig
from verifier.evaluate import rank
from verifier.evaluate.intervals import Bootstrap
from verifier.report import variants, writing
from verifier.system import checksums
from verifier.tables import stored_splits
from verifier.text.split import TEST

KS, RESAMPLES = (1, 3), 200


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, dict[int, pathlib.Path]]:
    """Three seeds of two variants, with reports."""
    root = tmp_path_factory.mktemp("variants")
    roots: dict[str, dict[int, pathlib.Path]] = {"base": {}, "other": {}}
    for number, name in enumerate(roots):
        for seed in range(3):
            folder = make_workdir(root / f"{name}-{seed}", seed=10 * number + seed)
            writing.write_report(
                folder, folder / "report", ReportConfig(ks=(1, 3), resamples=20, show_problems=1), 0
            )
            roots[name][seed] = folder
    return roots


def of(made, names, seeds) -> dict[str, dict[int, pathlib.Path]]:
    return {name: {seed: made[name][seed] for seed in seeds} for name in names}


def best(folder: pathlib.Path) -> np.ndarray:
    return rank.best_of_n(
        stored_splits.read_workdir(folder, [TEST])[TEST].candidates
    ).correct_P.astype(float)


def test_figures_and_differences_are_means_over_problems_of_means_over_seeds(made):
    roots = of(made, ("base", "other"), (0, 1, 2))
    compared = variants.compare(roots, KS, RESAMPLES, 0)
    by_hand = {
        name: np.mean([best(folder) for folder in of_seed.values()], axis=0)
        for name, of_seed in roots.items()
    }
    test = compared["splits"]["test"]
    for name in roots:
        assert test[name]["figures"]["best_of_n"]["value"] == pytest.approx(by_hand[name].mean())
        assert test[name]["figures"]["best_of_n"]["by_seed"] == pytest.approx(
            {str(s): best(f).mean() for s, f in roots[name].items()}
        )
    paired = Bootstrap.draw(len(by_hand["base"]), RESAMPLES, 0).differences(
        {"": by_hand["other"] - by_hand["base"]}
    )[""]
    found_pair = test["other"]["differences"]["best_of_n"]
    assert [found_pair["value"], *found_pair["ci95"]] == pytest.approx(
        [paired["value"], *paired["ci95"]]
    )
    assert test["base"]["differences"] == {}  # zero by construction: no estimate
    assert "heldout" not in compared["splits"] and compared["seeds"] == [0, 1, 2]


def test_problems_that_only_one_variant_has_do_not_count_in_a_difference(made):
    roots = of(made, ("base", "other"), (0,))
    whole = variants.compare(roots, KS, RESAMPLES, 0)["splits"]["test"]["other"]
    assert whole["n_shared_problems"] == whole["n_problems"] == 15
    read = stored_splits.read_workdir

    def without_three(root, *args, **more):
        rows = read(root, *args, **more)
        if "other" in str(root):
            kept = rows[TEST].candidates
            rows[TEST] = dataclasses.replace(
                rows[TEST], candidates=kept.of_problems(np.arange(len(kept.count_P)) >= 3)
            )
        return rows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_splits, "read_workdir", without_three)
        fewer = variants.compare(roots, KS, RESAMPLES, 0)["splits"]["test"]["other"]
    expected = (best(roots["other"][0]) - best(roots["base"][0]))[3:].mean()
    assert fewer["n_shared_problems"] == 12 and fewer["differences"]["best_of_n"][
        "value"
    ] == pytest.approx(expected)


def test_the_peak_is_the_top_of_the_curve_that_the_run_reports(made):
    roots = of(made, ("base",), (0,))
    peak = variants.compare(roots, KS, RESAMPLES, 0)["splits"]["test"]["base"]["peak"]
    curve = json.loads((roots["base"][0] / "report" / "metrics.json").read_text())["splits"][
        "test"
    ]["verifier_at_k"]
    top = max(one["value"] for one in curve.values())
    assert curve[str(peak["samples"])]["value"] == top
    assert peak["ci95"][0] <= peak["samples"] <= peak["ci95"][1]


def test_the_table_names_every_variant_and_leaves_out_differences_that_cannot_be(made, tmp_path):
    roots = of(made, ("base", "other"), (0, 1))
    roots["same"] = roots["base"]
    compared = variants.compare(roots, KS, RESAMPLES, 0)
    assert (
        compared["splits"]["test"]["same"]["differences"]
        == {}
        != compared["splits"]["test"]["other"]["differences"]
    )
    text = variants.table(compared)
    for word in (*roots, "best-of-n", "15 problems, seeds 0, 1"):
        assert word in text
    apart = text.partition("difference to base")[2].splitlines()
    assert {*next(line.split()[1:] for line in apart if line.startswith("same "))} == {"-"}
    only = variants.table(
        variants.compare({name: roots[name] for name in ("base", "same")}, KS, RESAMPLES, 0)
    )
    assert "difference to base" not in only and "optimiser steps" not in only
    for name, seed, steps in (
        ("base", 0, 247),
        ("base", 1, 247),
        ("other", 0, 31),
        ("other", 1, 32),
    ):
        roots[name][seed] = shutil.copytree(roots[name][seed], tmp_path / f"{name}-{seed}")
        manifest = {"settings": {}, "verify": {"steps": steps}}
        checksums.write_sealed(roots[name][seed] / "verifier" / "manifest.json", manifest)
    head = variants.table(
        variants.compare({name: roots[name] for name in ("base", "other")}, KS, RESAMPLES, 0)
    ).splitlines()[:5]
    assert [line.split() for line in head[2:]] == [["verify"], ["base", "247"], ["other", "31/32"]]
