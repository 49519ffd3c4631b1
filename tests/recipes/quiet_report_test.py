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

from tests.recipes.quiet_star_test import context, run
from tests.shrunk import made_once
from verifier.errors import Stopped, UserError
from verifier.run import thinker_folder
from verifier.stages import corpus, generators, table_writing
from verifier.stages.thoughts import THOUGHTS
from verifier.tables import store
from verifier.tables.manifests import read_manifest
from verifier.tables.results import GENERATOR
from verifier.text.split import HELDOUT

WINDOWS, DRAWN, AHEAD, P = 6, 2, 2, 3
FIRST = "stage=1"
NAMES = [
    "base: no thoughts",
    "stage=1: thoughts of 4, 2 ahead",
    "stage=2: thoughts of 3, 1 ahead",
    "no_thought: no thoughts",
]


@pytest.fixture(scope="module")
def thought(tmp_path_factory):
    """The finished run of the recipe's own tests. Nobody changes it."""
    return made_once(tmp_path_factory, "quiet_star", lambda folder: run(folder / "work")) / "work"


def stored(root):
    return store.read_table(THOUGHTS.folder(root, HELDOUT), "thoughts").to_pylist()


def test_every_token_of_the_windows_is_there(thought):
    rows, own = stored(thought / FIRST), context(thought, f"thoughts ({FIRST})")
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
        assert len(row["thought_tokens"]) == (DRAWN if row["token"] else 0)
    # As many are drawn while the same model writes.
    manifest = read_manifest(GENERATOR.folder(thought / FIRST))
    assert generators.thinking_of(manifest, "token").drawn == DRAWN


def test_what_is_stored_is_what_the_model_says_one_text_at_a_time(thought):
    """Without a thought from the decoder alone; with thoughts from reading these very ones."""
    rows = stored(thought / FIRST)
    saved = thinker_folder.load(thought / FIRST / "generator", "finetune", "float32")
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
    rows = stored(thought / FIRST)
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


def test_the_base_predicts_without_thoughts(thought):
    rows = stored(thought / "base")
    assert {tuple(row["rewards"]) for row in rows} == {()}
    assert {row["thought"] for row in rows} == {None}
    there = [row for row in rows if row["token"]]
    assert all(row["logprob_talk"] == row["logprob_base"] < 0 for row in there)
    others = [row for row in stored(thought / FIRST) if row["token"]]
    apart = [a["logprob_base"] - b["logprob_base"] for a, b in zip(there, others, strict=True)]
    assert max(map(abs, apart)) > 1e-4


def test_the_page_and_the_figures_tell_what_the_tables_say(thought):
    found = json.loads((thought / "report/metrics.json").read_text())
    assert list(found["thinkers"]) == NAMES
    base = {(row["document"], row["token"]): row for row in stored(thought / "base")}
    for name, place in zip(NAMES[1:3], ("stage=1", "stage=2"), strict=True):
        there = [row for row in stored(thought / place) if row["token"]]
        for group in ("all", "hard", "easy"):
            own = [row for row in there if group in ("all", row["kind"])]
            gain = sum(row["logprob_talk"] - row["logprob_base"] for row in own) / len(own)
            figures = found["thinkers"][name][group]
            assert figures["gain"]["value"] == pytest.approx(gain, abs=1e-6)
            before = sum(base[row["document"], row["token"]]["logprob_talk"] for row in own)
            lower = -before / len(own) - figures["talk_nll"]["value"]
            assert figures["over_first"]["value"] == pytest.approx(lower, abs=1e-6)
    html = (thought / "report/index.html").read_text()
    assert "What thoughts gained" in html and "stage=2: thoughts of 3, 1 ahead" in html
    charts = {path.stem for path in (thought / "report").glob("*.svg")}
    histograms = {f"gain_histogram_{number}" for number in range(1, len(NAMES) + 1)}
    training = {f"training_{each}" for each in ("reward", "mixing", "entropy")}
    assert charts == {"gain_by_difficulty"} | histograms | training


def test_a_killed_start_ends_as_one_that_was_left_alone(thought, tmp_path, monkeypatch):
    work = shutil.copytree(thought, tmp_path / "work")
    shutil.rmtree(work / FIRST / "tables")
    left = iter((False,) * (WINDOWS // 2) + (True,) * WINDOWS)

    def stop(progress):
        if next(left):
            raise Stopped("asked")

    with monkeypatch.context() as patched:
        patched.setattr(table_writing, "stop_if_asked", stop)
        with pytest.raises(Stopped):
            run(work, names=["thoughts"])
    parts = THOUGHTS.folder(work / FIRST, HELDOUT).glob("*.parquet")
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    assert len({row["window"] for row in rows}) == WINDOWS // 2
    run(work, names=["thoughts"])
    ids = [read_manifest(THOUGHTS.folder(root / FIRST, HELDOUT))["id"] for root in (work, thought)]
    assert ids[0] == ids[1]


def test_other_runs_stand_beside_it(thought, tmp_path):
    work = shutil.copytree(thought, tmp_path / "work")
    other = shutil.copytree(thought / FIRST, tmp_path / "control")
    run(work, f"quiet.report_beside=[{other}]", names=["report"])
    found = json.loads((work / "report/metrics.json").read_text())["thinkers"]
    assert list(found) == [*NAMES, "control: thoughts of 4, 2 ahead"]
    assert found["control: thoughts of 4, 2 ahead"] == found[NAMES[1]]
    with pytest.raises(UserError, match="no finished table of thoughts"):
        run(work, f"quiet.report_beside=[{tmp_path / 'nowhere'}]", names=["report"])
    with pytest.raises(UserError, match="would be called"):
        run(work, f"quiet.report_beside=[{other},{other}]", names=["report"])
