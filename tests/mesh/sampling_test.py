"""The same tokens are drawn on every mesh, and problems go to whoever has slots free."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx

from tests.decode import fakes
from tests.decode.near_ties import Drawn
from tests.mesh.training_test import MESHES, sizes_of
from verifier.config import MeshConfig, SampleConfig
from verifier.decode import answering, memory
from verifier.decode.engine import Engine, Prompt
from verifier.decode.thinking import Thinking
from verifier.model import cache, sharding
from verifier.model.arch import Arch
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer

CONFIG = SampleConfig(max_new_tokens=24, rows=32, calculator=False, top_logprobs=2)
# Of 20 samples prompts are chosen by blocks of rows; of 5, a block of its own for every prompt,
# which one mesh is enough for. Rows go by data and fsdp alike: one of the two alone is enough, too.
DRAWN = [*((20, mesh) for mesh in MESHES[1:]), (5, MESHES[-1])]
PROMPTS = [Prompt(f"p{n}", [3 + n, *range(40, 40 + 3 * n)]) for n in range(7)]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows are flushed and the pool of pages grows and shrinks on the way."""
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 8)


@functools.cache
def model(**changes):
    tokenizer = fakes.Pieces()
    sizes = {
        "layers": 2,
        "width": 32,
        "heads": 8,
        "kv_heads": 8,
        "head_width": 4,
        "mlp_width": 64,
        "context": 96,
    }
    arch = Arch(-(-(tokenizer.vocab_size + 1) // 8) * 8, **{**sizes, **changes})
    return Transformer(arch, rngs=nnx.Rngs(1)), tokenizer


def drawn(mesh, samples=20, prompts=PROMPTS, config=CONFIG, **changes):
    made, tokenizer = model(**changes)
    groups = Engine(made, tokenizer, config, 0, mesh).run(prompts, samples)
    return {(each.problem_id, each.sample_id): each for group in groups for each in group}


def parted(here, there, **changes):
    """The samples that part at a near tie; all others have the same tokens."""
    made, tokenizer = model(**changes)
    drawn_with = Drawn(
        made,
        tokenizer.vocab_size,
        {prompt.problem_id: prompt.tokens for prompt in PROMPTS},
        0,
        CONFIG,
    )
    return drawn_with.parted(
        *({name: each.tokens for name, each in found.items()} for found in (here, there))
    )


@functools.cache
def alone(samples=20, **changes):
    return drawn(None, samples, **changes)


@pytest.mark.parametrize(
    "samples, config", DRAWN, ids=[f"{samples}-{sizes_of(mesh)}" for samples, mesh in DRAWN]
)
def test_every_mesh_draws_the_same_tokens(config, samples):
    here, there = drawn(sharding.make_mesh(config), samples), alone(samples)
    assert here.keys() == there.keys() and len(here) == samples * len(PROMPTS)
    for name in here.keys() - parted(here, there):
        np.testing.assert_allclose(here[name].logprobs, there[name].logprobs, atol=1e-4)
        tops = (each[name].likeliest.logprobs for each in (here, there))
        np.testing.assert_allclose(*map(np.sort, tops), atol=1e-4)


def test_learned_positions_biases_and_an_output_of_its_own():
    changes = {
        "positions": "learned",
        "norm": "layer",
        "activation": "gelu_tanh",
        "gated": False,
        "tied": False,
    }
    changes |= {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
    here, there = drawn(sharding.make_mesh(MeshConfig(2, 2, 2)), **changes), alone(**changes)
    parted(here, there, **changes)


def test_layers_of_two_kinds_and_norms_of_what_devices_add_up():
    changes = {
        "layers": 3,
        "sliding_window": 5,
        "sliding_window_pattern": 2,
        "local_rope_theta": 100.0,
    }
    changes |= {"qk_norm": True, "post_norms": True, "scaled_embed": True}
    here, there = drawn(sharding.make_mesh(MeshConfig(2, 2, 2)), **changes), alone(**changes)
    parted(here, there, **changes)


@pytest.mark.parametrize("config", MESHES, ids=sizes_of)
def test_each_device_holds_its_heads_and_its_rows_alone(config):
    mesh = sharding.make_mesh(config)
    made, tokenizer = model()
    engine = Engine(made, tokenizer, CONFIG, 0, mesh)
    plan, whole = engine.plan(PROMPTS, 20), Engine(made, tokenizer, CONFIG, 0).plan(PROMPTS, 20)
    assert plan.rows == -(-whole.rows // sharding.groups(mesh))
    token_bytes = plan.page_bytes / plan.rows, whole.page_bytes / whole.rows
    assert token_bytes[0] * config.tensor == pytest.approx(token_bytes[1])


def test_no_group_waits_for_anothers_last_problem():
    """One problem is as much work as all groups have slots for: all of them must share it, as soon
    as its solutions part, which begin as one row.
    """
    counts = []
    made, tokenizer = model()
    engine = Engine(made, tokenizer, CONFIG, 0, sharding.make_mesh(MeshConfig(8, 1, 1)))
    list(
        engine.run(
            PROMPTS[:1],
            64,
            progress=lambda so_far: counts.append(
                (so_far.slot_steps, so_far.prefixes + so_far.read_again)
            ),
        )
    )
    slot_steps, written = counts[-1]
    assert written > 0.5 * slot_steps


def thinkers(**changes):
    """Engines of a thinker whose head heeds thoughts already: alone, and on a mesh."""
    decoder, tokenizer = model(layers=1)
    thinker = Thinker(decoder, rngs=nnx.Rngs(2))
    heeds = thinker.mixing.last.kernel
    heeds[...] = jax.random.normal(jax.random.key(0), heeds.shape)
    config = dataclasses.replace(CONFIG, top_logprobs=0, max_new_tokens=10, **changes)
    for mesh in (None, sharding.make_mesh(MeshConfig(2, 1, 4))):
        yield Engine(thinker, tokenizer, config, 0, mesh, Thinking(3))


def test_a_thinker_draws_on_a_mesh_what_it_draws_alone():
    found = []
    for engine in thinkers():
        groups = engine.run(PROMPTS, 3)
        found.append({(one.problem_id, one.sample_id): one for each in groups for one in each})
    here, there = found
    assert len(here) == 3 * len(PROMPTS)
    for key, one in here.items():
        assert one.tokens == there[key].tokens
        np.testing.assert_allclose(one.logprobs, there[key].logprobs, atol=1e-4)


def test_answers_are_as_likely_to_a_thinker_on_a_mesh_as_alone():
    """With fewer slots than answers, so that groups take problems as they have room."""
    rng, among, found = np.random.default_rng(0), tuple(range(3, 40)), []
    answers = [rng.choice(among, 2 + n % 3).tolist() for n in range(len(PROMPTS))]
    asked = sorted(zip(PROMPTS, answers, strict=True), key=lambda each: -len(each[0].tokens))
    for engine in thinkers(rows=4):
        sizes = engine.plan([prompt for prompt, _ in asked], 2)
        read = answering.read(engine.writer, sizes, asked, among, 2)
        found.append({(one.prompt, one.sample): one.logprobs for one in read})
    here, there = found
    assert here.keys() == there.keys() and len(here) == 2 * len(PROMPTS)
    for key, logprobs in here.items():
        assert len(logprobs) == len(asked[key[0]][1])
        np.testing.assert_allclose(logprobs, there[key], atol=1e-4)
