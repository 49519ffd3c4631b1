"""V-STaR: a run of one loop, what its two verifiers learn from, and what they score."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from experiments import tiny_v_star
from tests.shrunk import made_once, rows
from verifier import config as config_lib
from verifier import rerank
from verifier.config import LabelConfig, checks
from verifier.data import preferences
from verifier.errors import ConfigError, DataError, Stopped
from verifier.recipes import v_star
from verifier.rerank import Sources
from verifier.run import hosts, model_folder
from verifier.run.context import Context
from verifier.stages import dpo, existing_models, runner
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.split import TEST

SMALL = """
data.kinds=[backwards] data.train_problems=8 data.heldout_problems=8 data.test_problems=8
sample.train_samples=4 sample.heldout_samples=4 sample.test_samples=4 sample.max_new_tokens=96
sample.rows=16 star.loops=1 finetune.steps=2 finetune.batch_rows=2
verify.epochs=1 verify.batch_rows=2 verify.group=1 dpo.steps=4 dpo.batch_rows=2 dpo.pairs=6
dpo.learning_rate=1e-3 report.ks=[1,2,4] report.resamples=50
""".split()
KEY = ("problem_id", "sample_id")


def config(*more):
    return config_lib.override(tiny_v_star.get_config(), [*SMALL, *more])


def run(root, own, names=None):
    runner.run(v_star.stages(own), own, root, names)


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    """A finished run. Nobody changes it."""
    return made_once(tmp_path_factory, "v_star", lambda folder: run(folder / "work", config())) / (
        "work"
    )


def context(root, own, name, place):
    stages = v_star.stages(own)
    (stage,) = (each for each in stages if each.name == name and each.place == place)
    return Context(own, root, stage, stages)


def by_key(folder, *columns):
    return {
        tuple(row[name] for name in KEY): [row[name] for name in columns] for row in rows(folder)
    }


def leaves_of(params):
    return {
        jax.tree_util.keystr(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    }


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_both_verifiers_learn_from_the_samples_of_all_loops(ranked):
    pooled = rows(ranked / "loops/tables/samples/split=train")
    sources = [rows(ranked / f"loop={loop}/tables/samples/split=train") for loop in (0, 1)]
    assert len(pooled) == sum(map(len, sources)) == 2 * 8 * 4
    wanted = sorted(
        (row["problem_id"], row["generator"], row["solution"]) for own in sources for row in own
    )
    assert wanted == sorted(
        (row["problem_id"], row["generator"], row["solution"]) for row in pooled
    )
    labels = by_key(ranked / "loops/tables/labels/split=train", "correct")
    assert len(labels) == len(pooled) and {True, False} == {own for (own,) in labels.values()}
    labelled = manifest(ranked / "loops/tables/labels/split=train")
    for folder in (ranked / "verifier", ranked / "dpo/verifier"):
        made = manifest(folder)
        assert made["settings"]["labels"] == labelled["id"]
        assert made["trained_on"] == manifest(ranked / "loop=1/generator")["id"]


def test_the_reference_is_what_the_generator_gives_a_text(ranked):
    """Of the last generator's own samples the engine has stored it, but for the temperature."""
    own = context(ranked, config(), "dpo", "dpo")
    saved = existing_models.loaded(own, "generator")
    found = by_key(ranked / "tables/likelihoods/split=test", "score", "token_scores")
    for row in rows(ranked / "tables/samples/split=test")[:3]:
        problem = next(
            each
            for each in context(ranked, config(), "score", "").problems("problems", TEST)
            if each.problem_id == row["problem_id"]
        )
        prompt = own.prompt_ids(problem, saved.tokenizer)
        text = np.asarray([*prompt, *row["tokens"]], np.int32)[None]
        hidden = saved.model.hidden(text, np.arange(text.shape[1])[None], None)
        logits = np.asarray(hidden @ saved.model.output_rows().T, np.float64)
        logits = logits[0, len(prompt) - 1 : -1, : saved.tokenizer.vocab_size]
        logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        naive = logp[np.arange(len(row["tokens"])), row["tokens"]]
        score, sums = found[row["problem_id"], row["sample_id"]]
        np.testing.assert_allclose(sums, np.cumsum(naive), rtol=1e-4, atol=1e-3)
        assert score == pytest.approx(naive.sum(), rel=1e-4)


def test_pairs_are_right_over_wrong_and_are_counted(ranked):
    own = context(ranked, config(), "dpo", "dpo")
    tokenizer = tokenizer_lib.load_tokenizer(ranked / "loop=1/generator")
    pairs, counts = dpo.examples(own, "", tokenizer)
    assert counts == manifest(ranked / "dpo/verifier")["pairs"]["train"]
    correct = {
        "/".join(map(str, key)): right
        for key, (right,) in by_key(ranked / "loops/tables/labels/split=train", "correct").items()
    }
    assert len(pairs) == counts["pairs"] > 0
    for each in pairs:
        right, wrong = each.name.split(" over ")
        assert correct[right] and not correct[wrong]
        assert right.split("/")[0] == wrong.split("/")[0]


def test_a_score_is_how_much_likelier_the_verifier_holds_a_solution(ranked, tmp_path):
    test = "tables/{}/split=test"
    reference = by_key(ranked / test.format("likelihoods"), "score")
    scores = by_key(ranked / "dpo" / test.format("scores"), "score", "token_scores")
    assert scores.keys() == reference.keys() == by_key(ranked / test.format("scores")).keys()
    assert any(abs(score) > 1e-3 for score, _ in scores.values())
    for score, sums in scores.values():
        assert score == pytest.approx(sums[-1])
    work = shutil.copytree(ranked, tmp_path / "work")
    shutil.rmtree(work / "dpo/tables/scores")
    run(work, config("dpo.score=likelihood"), ["score"])
    whole = by_key(work / "dpo" / test.format("scores"), "score")
    for key, (score, _) in scores.items():
        assert score == pytest.approx(whole[key][0] - reference[key][0], abs=1e-3)


def test_the_report_is_what_reranks_and_likelihoods_say(ranked, tmp_path, capsys):
    found = json.loads((ranked / "report/metrics.json").read_text())["splits"]["test"]
    assert list(found["verifiers"]) == ["token values", "dpo", "likelihood"]
    for place, name in (("", "token values"), ("dpo", "dpo")):
        out = tmp_path / name
        rerank.rerank(Sources(ranked / place), out, config().report, LabelConfig(), 0)
        again = json.loads((out / "metrics.json").read_text())["splits"]["test"]
        own = found["verifiers"][name]["verifier_at_k"]
        assert {k: each["value"] for k, each in own.items()} == {
            k: each["value"] for k, each in again["verifier_at_k"].items()
        }
        assert again["verifier"]["auroc"] == found["verifiers"][name]["auroc"]
    likelihoods = by_key(ranked / "tables/likelihoods/split=test", "score")
    labels = by_key(ranked / "tables/labels/split=test", "correct")
    problems = {problem for problem, _ in likelihoods}
    likeliest = [
        max((key for key in likelihoods if key[0] == problem), key=lambda key: likelihoods[key])
        for problem in problems
    ]
    right = sum(labels[key][0] for key in likeliest) / len(problems)
    assert found["verifiers"]["likelihood"]["verifier_at_k"]["4"]["value"] == pytest.approx(right)
    page = (ranked / "report/index.html").read_text()
    assert "dpo − token values" in page and "likelihood − dpo" in page
    assert "first solved" in (ranked / "loops/report/index.html").read_text()


def test_training_that_was_stopped_goes_on_to_the_same_verifier(ranked, tmp_path, monkeypatch):
    work = shutil.copytree(ranked, tmp_path / "work")
    before = manifest(work / "dpo/verifier")["id"]
    shutil.rmtree(work / "dpo/verifier")
    shutil.rmtree(work / "dpo/tables/scores")
    with monkeypatch.context() as patched:
        patched.setattr(hosts, "stopping_after", lambda step: step == 2)
        with pytest.raises(Stopped, match="dpo after step 2 of 4"):
            run(work, config(), ["dpo"])
    assert not (work / "dpo/verifier/manifest.json").exists()
    run(work, config(), ["dpo"])
    assert manifest(work / "dpo/verifier")["id"] == before


def test_adapters_begin_in_the_first_loop_and_are_what_both_it_and_dpo_train(tmp_path):
    """Where each loop starts from the last one, the first of which is the base as it is."""
    own = config("model.lora_rank=2", "verify.head=linear", "star.start=last", "dpo.steps=2")
    run(tmp_path, own, ["before", "finetune", "sample", "label", "pool", "likelihood", "dpo"])
    folders = [tmp_path / name for name in ("loop=0/generator", "loop=1/generator", "dpo/verifier")]
    base, generator, verifier = (
        nnx.to_pure_dict(
            nnx.state(model_folder.load(each, "", "float32", merged=False).model, nnx.Param)
        )
        for each in folders
    )
    assert manifest(folders[1])["lora"] == manifest(folders[2])["lora"]
    assert manifest(folders[1])["lora"]["lora_rank"] == 2
    learned = [leaves_of(each) for each in (generator, verifier)]
    for name, leaf in leaves_of(base).items():
        assert all((leaf == each[name]).all() for each in learned), name
    adapters = sorted(set(learned[0]) - set(leaves_of(base)))
    assert adapters and all("lora_" in name for name in adapters)
    assert any((learned[0][name] != learned[1][name]).any() for name in adapters)


def test_no_pair_at_all_ends_with_the_numbers(ranked, monkeypatch, tmp_path):
    own = context(shutil.copytree(ranked, tmp_path / "work"), config("seed=0"), "dpo", "dpo")
    shutil.rmtree(own.folder())
    counts = {"problems": 8, "no_right": 6, "no_wrong": 2}
    drawn = preferences.Drawn([], counts | dict.fromkeys(("with_pairs", "possible", "pairs"), 0))
    monkeypatch.setattr(preferences, "draw", lambda *_: drawn)
    with pytest.raises(DataError, match="of 8 problems 2 have no wrong one and 6 no right one"):
        own.stage.do(own)


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        (["star.plateau=1"], "star.plateau=1"),
        (["sample.train_samples=1"], "a pair is a right and a wrong"),
        (["dpo.loss_on_question=true"], "same question"),
        (["dpo.epochs=0", "dpo.steps=0"], "not be trained at all"),
    ],
)
def test_what_could_not_be_done_is_refused_before_any_loop(knobs, told, tmp_path):
    own = config(*knobs)
    checks.check(own)
    with pytest.raises(ConfigError, match=told):
        run(tmp_path / "work", own)
    assert not (tmp_path / "work").exists()
