"""Quiet-STaR: a run of two stages of a curriculum over generated texts; how it goes on after a
kill, and what it is without thoughts.
"""

import contextlib
import functools
import itertools
import json
import shutil
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments import tiny_quiet_star
from experiments.tiny_distill import STUDENT
from tests.shrunk import made_once
from verifier import config as config_lib
from verifier.config import QuietConfig, checks
from verifier.data import window_stream
from verifier.data.batches import BatchSpec, zeros
from verifier.errors import ConfigError, DataError, Stopped, UserError, WorkdirError
from verifier.model import keys
from verifier.recipes import quiet_star
from verifier.run import model_folder, thinker_folder
from verifier.run.context import Context
from verifier.stages import corpus, fitting, no_thought, quiet, runner
from verifier.train import parameters
from verifier.train.losses import quiet as quiet_loss

SMALL = """
quiet.generated_documents=200 quiet.tokens=24 quiet.watched_windows=2 quiet.thoughts=2
quiet.curriculum=[4,3] quiet.curriculum_ahead=[2,1] quiet.curriculum_rates=[0.02,0.01]
model.layers=1 model.width=16 model.heads=2 model.kv_heads=2 model.mlp_width=16 mesh.data=1
quiet.no_thought_steps=3 quiet.no_thought_windows=20
pretrain.steps=0 pretrain.epochs=0
finetune.steps=3 finetune.batch_rows=2 finetune.eval_every=0
quiet.report_windows=6 quiet.report_thoughts=3 report.resamples=50
""".split()
STILL = {"dropout": 0.0, "dropout_key": None, "remat": False}
TRAINING = ("corpus", "pretrain", "finetune", "teach")


def config(*more):
    own = config_lib.override(tiny_quiet_star.get_config(), [*SMALL, *more])
    checks.check(own)
    return own


def run(root, *more, names=None):
    own = config(*more)
    runner.run(quiet_star.stages(own), own, root, names)


def context(root, title, *more):
    own = config(*more)
    stages = quiet_star.stages(own)
    (stage,) = (each for each in stages if str(each) == title)
    return Context(own, root, stage, stages)


@pytest.fixture(scope="module")
def thought(tmp_path_factory):
    """A finished run. Nobody changes it."""
    return made_once(tmp_path_factory, "quiet_star", lambda folder: run(folder / "work")) / "work"


def manifest(root, place=""):
    return json.loads((root / place / "generator/manifest.json").read_text())


def texts_of(root, split):
    """The documents of a split, as they stand in its windows."""
    folder = root / f"corpus/split={split}"
    told = json.loads((folder / "manifest.json").read_text())
    windows, tokenizer = corpus.Windows(folder, told), corpus.tokenizer_lib.load_tokenizer(folder)
    ids = {}
    for index in range(len(windows)):
        for start, end, document, _ in windows.pieces(index):
            ids.setdefault(document, []).extend(windows[index][start:end].tolist())
    return [tokenizer.decode(each) for each in ids.values()], told


def test_documents_are_learned_from_or_held_out(thought):
    (train, told), (heldout, _) = (texts_of(thought, split) for split in ("train", "heldout"))
    own = config()
    made = [each.text for each in corpus._documents(own)]
    assert sorted(train + heldout) == sorted(made) and not set(train) & set(heldout)
    assert len(heldout) == pytest.approx(own.quiet.heldout_share * len(made), abs=12)
    assert told["documents"] == len(train) and told["kinds"] == list(corpus.KINDS)


def test_answers_without_working_and_the_parts_of_a_working_are_told_apart(thought):
    folder = thought / "corpus/split=train"
    windows = corpus.Windows(folder, json.loads((folder / "manifest.json").read_text()))
    hard = 0
    for index in range(len(windows)):
        for start, end, *_ in windows.pieces(index):
            text = bytes(windows[index][start : end - 1].tolist()).decode()
            kinds = windows.kinds(index)[start:end].tolist()
            if " " in text or text[:3] == text[4:]:
                assert kinds == [2] * len(text) + [0]
            elif ":" in text:  # 3421=:023:3
                assert kinds == [0] * 5 + [3] + [4] * 3 + [0] * 3
            else:  # 3421=3
                assert kinds == [0] * 5 + [1, 0]
                hard += 1
    assert hard > 20


def test_each_stage_thinks_as_its_curriculum_says_and_starts_from_the_last(thought):
    first, second = (manifest(thought, f"stage={number}") for number in (1, 2))
    assert first["settings"]["last"] == manifest(thought, "base")["id"]
    assert second["settings"]["last"] == first["id"] != second["id"]
    assert [each["thoughts"]["thought_tokens"] for each in (first, second)] == [4, 3]
    assert [each["thoughts"]["ahead"] for each in (first, second)] == [2, 1]
    rates = [
        max(json.loads(line).get("learning_rate", 0) for line in path.read_text().splitlines())
        for path in (thought / f"stage={number}/logs/finetune.jsonl" for number in (1, 2))
    ]
    assert rates == pytest.approx([0.02, 0.01], rel=1e-5)


def test_a_thinker_comes_back_as_it_was_and_its_decoder_without_it(thought):
    folder = thought / "stage=1/generator"
    saved = thinker_folder.load(folder, "finetune", "float32")
    params = nnx.state(saved.model, thinker_folder._OWN)
    backbone = nnx.state(saved.model.backbone, nnx.Param)
    assert parameters.tree_id({"params": backbone, "thoughts": params}) == saved.id
    plain = model_folder.load(folder, "finetune", "float32").model
    tokens = jnp.arange(6)[None] + 60
    rows = tokens, jnp.arange(6)[None], jnp.full((1, 6), 6)
    read = saved.model.read(rows, jnp.zeros((1, 6, 1, 1), jnp.int32), ahead=1)
    np.testing.assert_allclose(read.text_BTD, plain.hidden(*rows), atol=1e-5)
    anew = quiet.new_thinker(config(), plain, saved.tokenizer)
    assert (np.asarray(anew.marks[...]) != np.asarray(saved.model.marks[...])).any()
    with pytest.raises(WorkdirError, match="a model without thoughts"):
        thinker_folder.load(thought / "base/generator", "pretrain", "float32")


def test_marks_begin_as_the_token_that_they_are_like(thought):
    saved = model_folder.load(thought / "base/generator", "pretrain", "float32")
    embed_VD = np.asarray(saved.model.embed[...])
    for text, wanted in ((":", embed_VD[ord(":")]), ("—", embed_VD.mean(axis=0))):
        own = config(f"quiet.marks_like={text}", "quiet.embedding_scale=10")
        thinker = quiet.new_thinker(own, saved.model, saved.tokenizer)
        np.testing.assert_allclose(thinker.mark_rows(), np.stack([wanted] * 2), atol=1e-6)


def test_what_was_stopped_anywhere_ends_as_what_never_was(thought, tmp_path):
    """Killed while texts are written, and asked to stop after a step of each job and a part that
    the thinker has read.
    """
    work = tmp_path / "work"
    added = itertools.count()

    def dies(self, *_):
        if next(added) == 50:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(corpus.WindowWriter, "add", dies)
        run(work, names=TRAINING)
    assert not list(work.glob("corpus/*/*"))
    taught = work / "no_thought/taught/split=train"
    for parts in (0, 0, 1, 3):
        with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
            patched.setattr(no_thought, "PART", 8)
            asked = types.SimpleNamespace(
                asked=lambda parts=parts: parts == 1, saving=contextlib.nullcontext
            )
            patched.setattr(no_thought, "stopping", asked)
            patched.setattr(fitting.hosts, "stopping_after", lambda step: step == 2)
            run(work, names=TRAINING)
        assert len(list(taught.glob("losses-*"))) == parts
    run(work, names=TRAINING)
    for place in ("base", "stage=1", "stage=2", "no_thought"):
        assert manifest(work, place)["id"] == manifest(thought, place)["id"]


def test_a_job_that_was_begun_with_other_knobs_is_not_gone_on_with(thought, tmp_path):
    work = shutil.copytree(thought, tmp_path / "work")
    for name in ("stage=2/generator", "no_thought"):
        shutil.rmtree(work / name)
    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(fitting.hosts, "stopping_after", lambda step: step == 1)
        run(work, names=TRAINING)
    with pytest.raises(UserError, match="quiet.policy_weight: 1.0 there, 2.0 now"):
        run(work, "quiet.policy_weight=2.0", names=TRAINING)
    shutil.rmtree(work / "stage=1/generator")
    with pytest.raises(UserError, match="quiet.policy_weight"):
        run(work, "quiet.policy_weight=2.0", names=TRAINING)


def test_without_thoughts_it_is_plain_training(thought, tmp_path):
    """The same steps on the same texts, once by the stage of thoughts and once by the base's."""
    work = tmp_path / "work"
    steps = ["steps=2", "batch_rows=2", "learning_rate=0.02", "warmup_share=0.05", "eval_every=0"]
    shutil.copytree(thought / "corpus", work / "corpus")
    run(
        work,
        *(f"finetune.{knob}" for knob in steps),
        *("quiet.thought_tokens=0", "quiet.curriculum=[]", "quiet.curriculum_ahead=[]"),
        *("quiet.curriculum_rates=[]", "quiet.no_thought_steps=0"),
        names=TRAINING[:3],
    )
    plain = tmp_path / "plain"
    shutil.copytree(thought / "corpus", plain / "corpus")
    run(plain, *(f"pretrain.{knob}" for knob in steps), names=TRAINING[:2])
    own = model_folder.load(work / "generator", "finetune", "float32").model
    other = model_folder.load(plain / "base/generator", "pretrain", "float32").model
    # The norm by which gradients are clipped is summed over the thinker's zeros, too.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        *(nnx.state(model, nnx.Param) for model in (own, other)),
    )


@pytest.mark.parametrize(
    ("knobs", "told"),
    [
        (["quiet.corpus="], "quiet.corpus='' is not there"),
        (["quiet.corpus=/no/texts.txt"], "quiet.corpus='/no/texts.txt' is not there"),
        (["pretrain.corpus=x.txt"], "pretrain.corpus"),
        (["quiet.thoughts=1"], "one thought is never better"),
        (["quiet.curriculum=[4,3,2]"], "quiet.curriculum_ahead has 2 entries for the 3 stages"),
        (
            ["model.lora_rank=2", "model.weights=x"],
            "model.lora_rank=2: a model that learns to think",
        ),
        (["quiet.curriculum=[4,1]"], "has no room for a thought's start and end"),
        (["quiet.curriculum=[4,499]"], "more than the model's context of 512"),
        (["quiet.curriculum_ahead=[2,600]"], "more than the model's context of 512"),
        (["finetune.steps=0", "finetune.epochs=0"], "no thought would be learned"),
        (["think.answers=true", "quiet.thought_source=pause"], "nothing is written with"),
    ],
)
def test_what_no_run_could_do_is_refused_before_any(knobs, told, tmp_path):
    with pytest.raises(ConfigError, match=told):
        run(tmp_path / "work", *knobs)
    assert not (tmp_path / "work").exists()


def test_thoughts_beyond_the_context_of_the_weights_are_refused_before_these_are_trained(tmp_path):
    sizes = json.loads((STUDENT / "config.json").read_text())
    weights = shutil.copytree(STUDENT, tmp_path / "weights")
    (weights / "config.json").write_text(json.dumps(sizes | {"max_position_embeddings": 26}))
    knobs = [f"model.weights={weights}", "tokenizer.kind=auto", "pretrain.steps=2"]
    with pytest.raises(
        ConfigError, match="takes 29 positions, more than the model's context of 26"
    ):
        run(tmp_path / "work", *knobs, names=["corpus", "pretrain"])
    assert not (tmp_path / "work/base/logs").exists()


def test_a_corpus_that_is_too_short_is_told_and_leaves_nothing(tmp_path):
    path = tmp_path / "texts"
    path.mkdir()
    (path / "a.txt").write_text("abc\n")
    (path / "b.jsonl").write_text('{"text": "defg"}\n')
    with pytest.raises(DataError, match="tokens to learn from .* fewer than a window"):
        run(tmp_path / "work", f"quiet.corpus={path}", names=["corpus"])
    (path / "c.txt").write_text("a long enough text, but one alone\n")
    with pytest.raises(DataError, match="none of 3 documents .* is held out"):
        run(tmp_path / "work", f"quiet.corpus={path}", names=["corpus"])
    assert not list((tmp_path / "work").glob("corpus/*/*"))
    (path / "c.txt").write_text("".join(f"a long enough text, {n}\n" for n in range(60)))
    run(tmp_path / "work", f"quiet.corpus={path}", names=["corpus"])
    everything = texts_of(tmp_path / "work", "train")[0] + texts_of(tmp_path / "work", "heldout")[0]
    assert sorted(everything) == sorted(
        ["abc", "defg", *(f"a long enough text, {n}" for n in range(60))]
    )
    (path / "d.txt").write_text("another\n")
    with pytest.raises(UserError, match="corpus"):
        run(tmp_path / "work", f"quiet.corpus={path}/../texts", names=["corpus"])


def test_a_decoder_that_does_without_learns_from_what_the_last_thinker_has_read(thought):
    told = manifest(thought, "no_thought")
    taught = json.loads((thought / "no_thought/taught/split=train/manifest.json").read_text())
    assert taught["settings"]["thinker"] == manifest(thought, "stage=2")["id"]
    assert told["settings"]["start"] == manifest(thought, "base")["id"]
    assert told["thoughts"]["thought_tokens"] == 0 and told["finetune"]["steps"] == 3
    own = context(thought, "finetune (no_thought)")
    losses_WT = no_thought._taught(own)
    windows = corpus.windows(own, "corpus", most=20)
    saved = thinker_folder.load(thought / "stage=2/generator", "finetune", "float32")
    told = QuietConfig(thought_tokens=3, ahead=1, thoughts=1)
    batch = zeros(BatchSpec(20, 24, quiet_loss.targets(told)))
    for row in range(20):
        window_stream.fill(batch, row, windows, row)
    rows = jax.vmap(functools.partial(jax.random.fold_in, keys.key_of(0, "teach")))(jnp.arange(20))
    read = jax.jit(
        lambda batch: quiet_loss.judged(
            saved.model, batch, rows, saved.tokenizer.vocab_size, told, **STILL
        )
    )(batch)
    counts_WT = batch.targets["lm_weight"] > 0
    np.testing.assert_allclose(
        losses_WT[counts_WT], read.talk_BTPM[:, :, 0, 0][counts_WT], atol=1e-4
    )
    plain_WT = read.base_BT
    assert (np.abs(losses_WT - plain_WT)[counts_WT] > 1e-4).mean() > 0.5
