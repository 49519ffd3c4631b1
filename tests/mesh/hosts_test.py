"""Two real processes of four virtual devices each do what one process does."""

import json
import pathlib
import shutil

import numpy as np

from tests.mesh.processes import assert_same_tokens, losses, start
from tests.shrunk import rows


def test_two_hosts_train_as_one_does(alone, tmp_path):
    found = start(tmp_path / "work", "--stages=finetune", processes=2, devices=4)
    np.testing.assert_allclose(
        losses(tmp_path / "work", "finetune"), losses(alone, "finetune"), rtol=1e-4
    )
    assert "finetune" in found[0][1] and "finetune:" not in found[1][1]  # the second host is silent


def test_two_hosts_sample_and_score_what_one_does(alone, tmp_path):
    work = pathlib.Path(shutil.copytree(alone, tmp_path / "work"))
    for name in ("samples", "labels", "scores"):
        shutil.rmtree(work / "tables" / name)
    shutil.rmtree(work / "report")
    # so few slots that no host can begin all problems at once
    start(work, "--stages=sample,label", processes=2, devices=4, settings=["sample.rows=8"])
    assert_same_tokens(work, alone)
    parts = sorted((work / "tables/samples/split=train").glob("part-*.parquet"))
    assert len(parts) == 2  # one of each host
    # a sample that parted at a near tie would train another verifier
    for name in ("samples", "labels"):
        shutil.rmtree(work / "tables" / name)
        shutil.copytree(alone / "tables" / name, work / "tables" / name)
    start(work, "--stages=label,verify,score,report", processes=2, devices=4)
    for split in ("heldout", "test"):
        here, there = (rows(root / f"tables/scores/split={split}") for root in (work, alone))
        np.testing.assert_allclose(
            [row["score"] for row in here], [row["score"] for row in there], atol=2e-3
        )
    metrics = [
        json.loads((root / "report/metrics.json").read_text())["splits"]["test"]
        for root in (work, alone)
    ]
    assert metrics[0]["mean_sample_accuracy"] == metrics[1]["mean_sample_accuracy"]
