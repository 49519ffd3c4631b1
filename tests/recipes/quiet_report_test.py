"""What thoughts gained, out of a run: the table against the model, figures against the table, and a
kill that changes nothing.
"""

from __future__ import annotations

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from flax import nnx

from tests.shrunk import made_once
from verifier import config as config_lib
from verifier.config import (
    Config,
    FinetuneConfig,
    ModelConfig,
    PretrainConfig,
    QuietConfig,
    TokenizerConfig,
)
from verifier.errors import Stopped, UserError
from verifier.recipes import quiet_star
from verifier.run import thinker_folder
from verifier.run.context import Context
from verifier.stages import corpus, runner, table_writing
from verifier.tables import store
from verifier.tables.results import THOUGHTS
from verifier.text.split import HELDOUT

WINDOWS, DRAWN, AHEAD, P = 6, 2, 2, 3


def config(*more):
    own = Config(
        name="thoughtful",
        tokenizer=TokenizerConfig(kind="bytes"),
        model=ModelConfig(layers=1, width=16, heads=2, kv_heads=2, mlp_width=16, context=64),
        pretrain=PretrainConfig(steps=0, epochs=0, batch_rows=2),
        finetune=FinetuneConfig(steps=3, batch_rows=2, learning_rate=3e-2, warmup_share=0.1),
        quiet=QuietConfig(
            corpus="generated",
            generated_documents=150,
            heldout_share=0.3,
            watched_windows=2,
            tokens=24,
            thought_tokens=DRAWN + 2,
            ahead=AHEAD,
            policy_weight=1.0,
            marks_like=":",
            report_windows=WINDOWS,
            report_thoughts=P,
        ),
    )
    return config_lib.override(own, ["report.resamples=50", *more])


def run(root, own, names=None):
    runner.run(quiet_star.stages(own), own, root, names)


@pytest.fixture(scope="module")
def thought(tmp_path_factory):
    """A finished run. Nobody changes it."""
    return made_once(tmp_path_factory, "quiet", lambda folder: run(folder / "work", config()))


def stored(root):
    return store.read_table(THOUGHTS.folder(root, HELDOUT), "thoughts").to_pylist()


def context(root, own, name):
    stages = quiet_star.stages(own)
    (stage,) = (each for each in stages if each.name == name)
    return Context(own, root, stage, stages)


def test_every_token_of_the_windows_is_there(thought):
    root = thought / "work"
    rows, own = stored(root), context(root, config(), "thoughts")
    windows = corpus.windows(own, "corpus", WINDOWS)
    kinds = own.manifest("corpus")["kinds"]
    expected = [
        (window, piece.document, piece.first + place, int(windows[window][piece.start + place]))
        for window in range(WINDOWS)
        for piece in windows.pieces(window)
        for place in range(piece.end - piece.start)
    ]
    keys = ("window", "document", "token", "token_id")
    assert [tuple(row[key] for key in keys) for row in rows] == expected
    assert {row["kind"] for row in rows} == set(kinds)
    assert "".join(row["text"] for row in rows).isascii()
    for row in rows:
        assert (row["logprob_base"] is None) == (row["thought"] is None) == (row["token"] == 0)
        assert len(row["mixings"]) == len(row["entropies"]) == (P if row["token"] else 0)


def test_what_is_stored_is_what_the_model_says_one_text_at_a_time(thought):
    """Without a thought from the decoder alone; with thoughts from reading these very ones."""
    root = thought / "work"
    rows = stored(root)
    saved = thinker_folder.load(root / "generator", "finetune", "float32")
    thinker, size = saved.model, saved.tokenizer.vocab_size
    longest = max(rows, key=lambda row: row["token"])["document"]
    text = [row for row in rows if row["document"] == longest]
    ids_T = np.array([row["token_id"] for row in text])
    order_T, end_T = np.arange(len(text)), np.full(len(text), len(text))
    drawn_TI = np.array([row["thought_tokens"] for row in text[1:]] + [[0] * DRAWN])
    assert [saved.tokenizer.decode(row["thought_tokens"]) for row in text[1:]] == [
        row["thought"] for row in text[1:]
    ]

    @nnx.jit
    def predicted(thinker):
        """Log-probabilities without, [T, V], and with a thought, [T, M, V]."""
        batch = tuple(jnp.asarray(each)[None] for each in (ids_T, order_T, end_T))
        (base_TD,) = thinker.backbone.hidden(batch[0], batch[1], None)
        states = thinker.read(batch, jnp.asarray(drawn_TI)[None, :, None], ahead=AHEAD)
        own_TMD = states.branch_BTPCD[0, :, 0, -AHEAD:]
        mixed = []
        for m in range(AHEAD):
            ahead_TD = jnp.roll(base_TD, -m, axis=0)
            weight_T1 = thinker.mixing(ahead_TD, own_TMD[:, m])[:, None]
            mixed.append((1 - weight_T1) * ahead_TD + weight_T1 * own_TMD[:, m])
        states = (base_TD, jnp.stack(mixed, axis=1))
        return [jax.nn.log_softmax(thinker.backbone.logits(each)[..., :size]) for each in states]

    base_TV, talk_TMV = map(np.asarray, predicted(thinker))
    for place in range(1, len(text)):
        row, before = text[place], place - 1
        assert row["logprob_base"] == pytest.approx(base_TV[before, ids_T[place]], abs=1e-4)
        if row["rewards"]:
            total = sum(
                talk_TMV[before, m, ids_T[place + m]] - base_TV[before + m, ids_T[place + m]]
                for m in range(AHEAD)
            )
            assert max(row["rewards"]) == pytest.approx(total, abs=1e-4)


def test_rewards_follow_from_the_predictions_that_are_stored(thought):
    rows = stored(thought / "work")
    assert max(abs(reward) for row in rows for reward in row["rewards"]) > 1e-5
    by_token = {(row["document"], row["token"]): row for row in rows}
    for (document, token), row in by_token.items():
        if row["logprob_base"] is None:
            continue
        behind = [by_token.get((document, token + m)) for m in range(AHEAD)]
        there = [each["logprob_base"] for each in behind if each]
        assert [len(each) for each in row["ahead_talk"]] == [len(there)] * P
        firsts = [each[0] for each in row["ahead_talk"]]
        assert row["logprob_talk"] == pytest.approx(sum(firsts) / P, abs=1e-5)
        assert row["mixing"] == pytest.approx(sum(row["mixings"]) / P, abs=1e-5)
        expected = [sum(each) - sum(there) for each in row["ahead_talk"]]
        assert row["rewards"] == pytest.approx(expected if all(behind) else [], abs=1e-5)


def test_the_page_and_the_figures_tell_what_the_table_says(thought):
    root = thought / "work"
    found = json.loads((root / "report/metrics.json").read_text())
    (name,) = found["thinkers"]
    assert name == "thoughts of 4, 2 ahead"
    there = [row for row in stored(root) if row["logprob_base"] is not None]
    for group in ("all", "hard", "easy"):
        own = [row for row in there if group in ("all", row["kind"])]
        gain = sum(row["logprob_talk"] - row["logprob_base"] for row in own) / len(own)
        assert found["thinkers"][name][group]["gain"]["value"] == pytest.approx(gain, abs=1e-6)
    html = (root / "report/index.html").read_text()
    assert (
        "What thoughts gained" in html
        and f'quiet.report_windows</th><td class="number">{WINDOWS}' in html
    )
    charts = {path.stem for path in (root / "report").glob("*.svg")}
    training = {f"training_{each}" for each in ("reward", "mixing", "entropy")}
    assert charts == {"gain_by_difficulty", "gain_histogram_1", *training}


def test_a_killed_start_ends_as_one_that_was_left_alone(thought, tmp_path, monkeypatch):
    work = shutil.copytree(thought / "work", tmp_path / "work")
    shutil.rmtree(work / "tables")
    left = iter((False,) * (WINDOWS // 2) + (True,) * WINDOWS)

    def stop(progress):
        if next(left):
            raise Stopped("asked")

    with monkeypatch.context() as patched:
        patched.setattr(table_writing, "stop_if_asked", stop)
        with pytest.raises(Stopped):
            run(work, config(), ["thoughts"])
    assert len({row["window"] for row in _parts(work)}) == WINDOWS // 2
    run(work, config(), ["thoughts"])
    manifests = [
        json.loads((THOUGHTS.folder(root, HELDOUT) / "manifest.json").read_text())
        for root in (work, thought / "work")
    ]
    assert manifests[0]["id"] == manifests[1]["id"]


def _parts(work):
    folder = THOUGHTS.folder(work, HELDOUT)
    return [row for part in folder.glob("*.parquet") for row in pq.read_table(part).to_pylist()]


def test_other_runs_stand_beside_it(thought, tmp_path):
    work = shutil.copytree(thought / "work", tmp_path / "work")
    other = shutil.copytree(thought / "work", tmp_path / "control")
    run(work, config(f"quiet.report_beside=[{other}]"), ["report"])
    found = json.loads((work / "report/metrics.json").read_text())
    first, second = found["thinkers"].values()
    assert list(found["thinkers"])[1] == "control: thoughts of 4, 2 ahead"
    assert second["all"].pop("minus_first")["value"] == 0 and not first["all"].pop("minus_first")
    assert first["all"] == second["all"]
    with pytest.raises(UserError, match="no finished table of thoughts"):
        run(work, config(f"quiet.report_beside=[{tmp_path / 'nowhere'}]"), ["report"])
    with pytest.raises(UserError, match="would be called"):
        run(work, config(f"quiet.report_beside=[{other},{other}]"), ["report"])
