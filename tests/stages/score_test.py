"""The stage score on tables made by hand: whose tokens are read how, and what a verifier cannot
read is left out, counted and said.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import NamedTuple

import numpy as np
import pytest
from flax import nnx

from tests.shrunk import context
from verifier import config as config_lib
from verifier import errors, rerank
from verifier.model.arch import Arch
from verifier.model.heads import ReservedLogitHead, Verifier
from verifier.model.transformer import Transformer
from verifier.run import model_folder
from verifier.run.context import Context
from verifier.tables import store
from verifier.text.split import OWN, Split
from verifier.text.tokenizer import ByteTokenizer

TOKENIZER = ByteTokenizer()
REPORT = config_lib.ReportConfig(ks=(1, 2), resamples=20, show_problems=2)
# tokens of each solution, the end token among them
LENGTHS = {"p0": [4, 60, 9], "p1": [5, 6, 70], "p2": [80, 90]}
CONTEXT = 40


def solution(length: int) -> str:
    return (
        f"{'x' * (length - 3)}{length % 10}"
        if length % 2
        else f"{'#' * 4}{length % 10}".ljust(length - 1)
    )


class Made(NamedTuple):
    """A run's settings and workdir, and its stages at work in it."""

    config: config_lib.Config
    root: pathlib.Path

    def at(self, name: str) -> Context:
        return context(self.config, self.root, name)

    def do(self, name: str) -> None:
        work = self.at(name)
        work.stage.do(work)

    def table(self, name: str, split: str) -> pathlib.Path:
        return self.root / "tables" / name / f"split={split}"

    def id_of(self, name: str, split: str) -> str:
        return store.read_manifest(self.table(name, split))["id"]


def make_run(
    root, context: int = CONTEXT, generator: str = "g", shift: int = 0, lengths=LENGTHS, **verify
) -> Made:
    """A workdir that lacks only scores.

    `generator` drew the test samples, `shift` is added to their tokens.
    """
    config = config_lib.Config(report=REPORT, verify=config_lib.VerifyConfig(**verify))
    run = Made(config, root)
    for split in map(str, OWN):
        given = lengths if split == "test" else {f"{split}0": [6, 8]}
        about = {"solution": None, "answer": "4", "source": "made", "split": split}
        asked = [{"problem_id": name, "question": f"{name}?"} | about for name in given]
        write(
            run,
            "problems",
            split,
            asked,
            {},
            {"place": {"dir": "", "test_dir": "", "source": "local"}},
        )
        drawn_by, more = (generator, shift) if split == "test" else ("g", 0)
        samples = []
        for name, each in given.items():
            for j, length in enumerate(each):
                tokens = [
                    token + more
                    for token in [*TOKENIZER.encode(solution(length)), TOKENIZER.end_id]
                ]
                samples.append(
                    {
                        "problem_id": name,
                        "sample_id": j,
                        "solution": solution(length),
                        "tokens": tokens,
                        "forced": [False] * len(tokens),
                        "logprobs": [0.0] * len(tokens),
                        "finish": "eos",
                        "generator": drawn_by,
                        "seed": 0,
                        "calculator_errors": 0,
                    }
                )
        write(
            run,
            "samples",
            split,
            samples,
            {"generator": drawn_by, "problems": run.id_of("problems", split)},
            {},
        )
    arch = Arch(
        TOKENIZER.reserved_id + 1,
        layers=1,
        width=16,
        heads=2,
        kv_heads=2,
        head_width=8,
        mlp_width=16,
        context=context,
    )
    made = Verifier(
        Transformer(arch, rngs=nnx.Rngs(0)),
        ReservedLogitHead(TOKENIZER.reserved_id, initial_bias=0.3),
    )
    facts = {
        "settings": run.at("verify").stage.settings(config),
        "generator": "g",
        "trained_on": "g",
        "reads_text": False,
    }
    template = dataclasses.asdict(run.at("verify").template())
    model_folder.save(root / "verifier", made, TOKENIZER, facts | {"template": template})
    return run


def write(run: Made, table: str, split: str, rows, made_from, facts) -> None:
    own = run.at({"samples": "sample"}.get(table, table)).stage.settings(run.config, Split(split))
    writer = store.TableWriter(run.table(table, split), table, own | made_from)
    writer.append(rows)
    writer.finish(facts)


def scores(run: Made) -> dict:
    found = store.read_table(run.table("scores", "test"), "scores").to_pylist()
    return {(row["problem_id"], row["sample_id"]): row for row in found}


def test_what_is_beyond_the_verifiers_context_has_no_score_and_is_left_out_and_said(
    tmp_path, capsys
):
    whole, short = make_run(tmp_path / "whole", context=128), make_run(tmp_path / "short")
    for run in (whole, short):
        run.do("label")
        run.do("score")
    short.do("report")
    fit = {
        (name, j)
        for name, each in LENGTHS.items()
        for j, length in enumerate(each)
        if len(f"{name}?\n") + length <= CONTEXT
    }
    found, expected = scores(short), scores(whole)
    assert set(found) == fit and len(expected) == 8 and len(fit) == 4
    for key, row in found.items():
        np.testing.assert_allclose(row["token_scores"], expected[key]["token_scores"], atol=1e-5)
    assert (
        "score test: 4 of 8 solutions get no score: with their prompts they have more than the "
        "40 tokens" in capsys.readouterr().err
    )
    noted = [store.read_manifest(run.table("scores", "test"))["too_long"] for run in (whole, short)]
    metrics = json.loads((short.root / "report/metrics.json").read_text())
    test = metrics["splits"]["test"]
    assert noted == [0, 4] and test["n_samples"] == 4 and test["n_problems"] == 2
    assert test["left_out"] == {"problems": 1, "samples_too_long_for_the_verifier": 4}
    page = (short.root / "report/index.html").read_text()
    for note in (
        "4 test samples too long for the verifier are left out, as if they had not been drawn: "
        "best-of-n, votes and all other figures are",
        "1 test problem has no samples left and is not counted.",
    ):
        assert any(each.startswith(note) for each in metrics["notes"]) and note in page
    rerank.rerank(rerank.Sources(short.root), tmp_path / "out", REPORT, config_lib.LabelConfig(), 0)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["splits"]["test"] == test


def test_a_verifier_that_can_read_nothing_is_named(tmp_path):
    run = make_run(tmp_path, context=16, lengths={"p0": [30, 40]})
    with pytest.raises(
        errors.UserError,
        match="score test: none of the 2 solutions fits the verifier's context of 16 tokens",
    ):
        run.do("score")


def test_ids_beyond_the_vocabulary_are_refused_by_name(tmp_path):
    run = make_run(tmp_path, shift=200)
    with pytest.raises(
        errors.UserError,
        match=r"samples of test: problem p0, sample 0 has the token \d+, but .* is 0 to 256",
    ):
        run.do("score")


def test_samples_that_somebody_else_drew_are_read_as_text(tmp_path):
    with pytest.raises(
        errors.WorkdirError,
        match="samples of test were drawn by generator h, but the verifier is of g",
    ):
        make_run(tmp_path / "one", generator="h", shift=7).do("score")
    own, others = (
        make_run(tmp_path / "own"),
        make_run(tmp_path / "other", generator="h", shift=7, other_generator=True),
    )
    for run in (own, others):
        run.do("score")
    assert [
        store.read_manifest(run.table("scores", "test"))["reads_text"] for run in (own, others)
    ] == [False, True]
    expected = scores(own)
    for key, row in scores(others).items():
        np.testing.assert_allclose(row["token_scores"], expected[key]["token_scores"], atol=1e-6)
