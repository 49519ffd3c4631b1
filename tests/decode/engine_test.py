"""The engine: equal to a naive loop, blind to batching, right about forced tokens, ends and
refusals.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.decode import fakes
from tests.decode.near_ties import Drawn
from verifier.config import SampleConfig
from verifier.decode import engine as engine_lib
from verifier.decode import memory, prompt_blocks, queue, running, steps
from verifier.decode import state as state_lib
from verifier.errors import UserError
from verifier.model import cache, sampling
from verifier.model.arch import Arch
from verifier.model.transformer import Transformer
from verifier.text import calculator

CONTEXT = 96
CONFIG = SampleConfig(temperature=0.7, max_new_tokens=40, rows=6)
SURE = dataclasses.replace(CONFIG, temperature=0.12)  # its solutions have more in common
QUESTIONS = {
    "a": "how many?",
    "b": "sum <<1+1=2>> of it",
    "c": "x",
    "d": "what is left of the forty apples now?",
    "e": "So?",
}
PROMPTS = [
    engine_lib.Prompt(name, tuple(ord(letter) - 32 for letter in text))
    for name, text in QUESTIONS.items()
]
# What likes to follow a letter; many expressions come out right, some cannot be evaluated (`7+=`,
# `3/0=`, `(3`).
FOLLOW = dict(
    [
        *zip(
            "<37()+-/*=>",
            ("357(", "+-/*", "=", "357", "=", "357=", "357", "0357", "35", "357< ", " "),
            strict=True,
        ),
        ("5", "+-"),
    ]
)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are flushed and the pool of pages grows and shrinks on the way in every test."""
    monkeypatch.setattr(cache, "WINDOW", 8)
    monkeypatch.setattr(memory, "FEWEST_PAGES", 12)


@functools.cache
def nudged() -> tuple[fakes.Nudged, fakes.Pieces]:
    """A random model that likes to write `<<3+4=`, with pieces that read on past the `=`."""
    tokenizer = fakes.Pieces()
    rows = tokenizer.vocab_size + 1
    arch = Arch(
        rows, layers=1, width=32, heads=4, kv_heads=2, head_width=8, mlp_width=64, context=CONTEXT
    )
    pairs = np.zeros((rows, rows), np.float32)
    for first in range(rows):
        letter = tokenizer.pieces[first][-1] if first < len(tokenizer.pieces) else " "
        for second in FOLLOW.get(letter, "<357"):
            pairs[first, tokenizer.encode("<<" if second == "<" else second)[0]] += 5.0
        if letter in "357)":
            pairs[
                first, [tokenizer.pieces.index(piece) for piece in ("=1", "=-", "=<<", ")=", " =")]
            ] += 4.5
    pairs[:, tokenizer.end_id] += 2.5
    return fakes.Nudged(Transformer(arch, rngs=nnx.Rngs(3)), pairs), tokenizer


@functools.cache
def naive_reader():
    """The token that follows a whole text, read from its start, and all log-probabilities: no
    cache, no batch.
    """
    model, tokenizer = nudged()
    graph, state = nnx.split(model)

    @jax.jit
    def read(
        tokens_T: jax.Array,
        length: jax.Array,
        key_2: jax.Array,
        t: jax.Array,
        temperature: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        twin = nnx.merge(graph, state)
        place_T = jnp.arange(CONTEXT)
        hidden = twin.hidden(tokens_T[None], place_T[None], None)
        logits_V = twin.logits(hidden[0, length - 1])
        uniform = sampling.uniforms(key_2[None], t)
        token, _ = sampling.draw(
            logits_V[None], uniform, temperature, vocab_size=tokenizer.vocab_size
        )
        return token[0], jax.nn.log_softmax(logits_V[: tokenizer.vocab_size])

    return lambda tokens, *rest: read(
        np.array(tokens + [0] * (CONTEXT - len(tokens)), np.int32), len(tokens), *rest
    )


def naive(
    prompt: engine_lib.Prompt, sample_id: int, seed: int, config: SampleConfig
) -> engine_lib.Completion:
    """One solution, one token at a time; its calculator rereads the text letter by letter."""
    _, tokenizer = nudged()
    key = sampling.sample_key(seed, prompt.problem_id, sample_id)
    tokens, forced, logprobs, waiting, errors = [], [], [], [], 0
    while len(tokens) < config.max_new_tokens and tokens[-1:] != [tokenizer.end_id]:
        drawn, logprob_V = naive_reader()(
            list(prompt.tokens) + tokens, key, len(tokens), config.temperature
        )
        token, by_calculator = (waiting.pop(0), True) if waiting else (int(drawn), False)
        if not by_calculator and config.calculator:
            before, piece = tokenizer.decode(tokens), tokenizer.decode([token])
            for end in range(1, len(piece) + 1):
                match = re.fullmatch(r".*<<((?:(?!>>|<<)[^=])*)=", before + piece[:end], re.DOTALL)
                if piece[end - 1] != "=" or not match:
                    continue
                result = calculator.evaluate(match[1])
                if isinstance(result, calculator.Refused):
                    errors += 1
                    continue
                if end < len(piece):
                    waiting = tokenizer.encode(piece[:end] + result.text + ">>")
                    token, by_calculator = waiting.pop(0), True
                else:
                    waiting = tokenizer.encode(result.text + ">>")
                break
        tokens.append(token)
        forced.append(by_calculator)
        logprobs.append(float(logprob_V[token]))
    finish = "eos" if tokens[-1] == tokenizer.end_id else "length"
    return engine_lib.Completion(
        prompt.problem_id,
        sample_id,
        tokens,
        forced,
        logprobs,
        finish,
        tokenizer.decode(tokens),
        errors,
    )


def draw(config: SampleConfig, prompts=PROMPTS, samples=3, seed=5) -> dict:
    model, tokenizer = nudged()
    found = list(engine_lib.Engine(model, tokenizer, config, seed).run(prompts, samples))
    assert all(
        [c.sample_id for c in problem] == sorted(c.sample_id for c in problem) for problem in found
    )
    return {(c.problem_id, c.sample_id): c for problem in found for c in problem}


@functools.cache
def usual() -> dict:
    """What CONFIG draws of all prompts."""
    return draw(CONFIG)


def bare(completion: engine_lib.Completion) -> dict:
    """All of a completion but the log-probabilities, whose last digits depend on the batch."""
    unlike = "logprobs", "likeliest"
    return {name: value for name, value in vars(completion).items() if name not in unlike}


def assert_same(found: dict, expected: dict, config: SampleConfig = CONFIG) -> set:
    """Both drew the same, log-probabilities aside; the samples that part at a near tie."""
    model, tokenizer = nudged()
    drawn_with = Drawn(
        model,
        tokenizer.vocab_size,
        {prompt.problem_id: prompt.tokens for prompt in PROMPTS},
        5,
        config,
    )
    parted = drawn_with.parted(
        *({key: each.tokens for key, each in one.items()} for one in (found, expected))
    )
    assert all(bare(found[key]) == bare(expected[key]) for key in expected.keys() - parted)
    return parted


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_cached_batches_equal_the_naive_loop_token_for_token(temperature: float) -> None:
    config = dataclasses.replace(CONFIG, temperature=temperature)
    found = draw(config) if config != CONFIG else usual()
    assert len(found) == len(PROMPTS) * 3
    expected = {
        (prompt.problem_id, n): naive(prompt, n, 5, config)
        for prompt in PROMPTS
        for n in range(3 if temperature else 1)
    }
    for key in expected.keys() - assert_same(
        {key: found[key] for key in expected}, expected, config
    ):
        np.testing.assert_allclose(found[key].logprobs, expected[key].logprobs, atol=2e-4)
    if temperature:  # the comparison above means something only if all of this came up
        every = list(found.values())
        assert {c.finish for c in every} == {"eos", "length"}
        assert any(c.calculator_errors for c in every)
        assert sum(map(any, (c.forced for c in every))) >= 3


def test_temperature_0_gives_every_sample_the_same_tokens() -> None:
    found = draw(dataclasses.replace(CONFIG, temperature=0.0))
    for prompt in PROMPTS:
        assert len({tuple(found[prompt.problem_id, j].tokens) for j in range(3)}) == 1
    assert len({tuple(c.tokens) for c in usual().values()}) > len(PROMPTS)


@pytest.mark.parametrize("rows", [2, 64])
def test_tokens_depend_on_no_batch_size(rows: int) -> None:
    expected = usual()
    found = draw(dataclasses.replace(CONFIG, rows=rows))
    assert_same(found, expected)


def test_tokens_do_not_change_when_the_last_ones_go_on_in_fewer_slots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = usual()
    monkeypatch.setattr(memory, "WORTH_FEWER_ROWS", 0.0)
    kept = []
    monkeypatch.setattr(
        state_lib,
        "take_rows",
        lambda state, row_B, mesh, take=state_lib.take_rows: (
            kept.append(len(row_B)) or take(state, row_B)
        ),
    )
    found = draw(CONFIG)
    assert_same(found, expected)
    assert kept and kept == sorted(kept, reverse=True) and max(kept) < CONFIG.rows


def test_tokens_are_the_same_in_blocks_that_look_their_prompt_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = usual()
    monkeypatch.setattr(prompt_blocks, "OWN_BLOCK", 1)
    monkeypatch.setattr(prompt_blocks, "BLOCK_ROWS", 2)
    asked = []
    monkeypatch.setattr(
        running,
        "block_sizes",
        lambda *sizes: asked.append(prompt_blocks.block_sizes(*sizes)) or asked[-1],
    )
    for rows in (6, 4):  # 4: a problem's solutions do not all have a slot at once
        found = draw(dataclasses.replace(CONFIG, rows=rows))
        assert_same(found, expected)
    assert asked and not any(sizes.own_block for sizes in asked)


def test_tokens_are_the_same_when_prompts_wait_for_slots_and_their_rooms_shrink(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = usual()
    monkeypatch.setattr(memory, "PROMPT_ROOM", 4)
    whole = memory._sizes
    monkeypatch.setattr(
        memory,
        "_sizes",
        lambda *given, **named: dataclasses.replace(
            whole(*given, **named), prompts=2, prompts_at_once=1
        ),
    )
    rooms, waits = [], []
    resize = state_lib.resize_prompts
    monkeypatch.setattr(
        state_lib,
        "resize_prompts",
        lambda state, room, mesh: rooms.append(room) or resize(state, room, mesh),
    )
    take = queue.BranchQueue.take

    def watched(self: queue.BranchQueue, group: int, idle: int) -> queue.Taken | None:
        taken = take(self, group, idle)
        if taken is None and self._unread:
            waits.append(group)
        return taken

    monkeypatch.setattr(queue.BranchQueue, "take", watched)
    found = draw(dataclasses.replace(CONFIG, rows=9))
    assert_same(found, expected)
    assert rooms == sorted(rooms, reverse=True) and rooms and waits


@pytest.mark.usefixtures("few_programs")
@pytest.mark.parametrize("rows", [2, 60])
def test_samples_that_share_rows_are_those_that_have_one_each(rows: int) -> None:
    """With few rows branches wait, beyond their window too, and are read again."""
    config = dataclasses.replace(SURE, rows=rows)
    last: list[engine_lib.Counts] = []
    model, tokenizer = nudged()
    drawn = engine_lib.Engine(model, tokenizer, config, 5).run(
        PROMPTS[:3], 20, progress=lambda counts: last.append(dataclasses.replace(counts))
    )
    found = {(c.problem_id, c.sample_id): c for problem in drawn for c in problem}
    parted = assert_same(found, alone(), config)
    for key in found.keys() - parted:
        np.testing.assert_allclose(found[key].logprobs, alone()[key].logprobs, atol=2e-4)
    # where each has a slot they begin apart
    shared = last[-1].tokens - last[-1].prefixes
    assert shared > 0.03 * last[-1].tokens if rows < 60 else shared == 0
    assert (last[-1].read_again > 0) == (rows < 60)


@functools.cache
def alone() -> dict:
    """Twenty samples of some prompts, each written by itself."""
    return draw(dataclasses.replace(SURE, share=False, rows=12), PROMPTS[:3], samples=20)


def test_a_model_that_is_sure_writes_all_its_solutions_in_the_steps_of_one() -> None:
    """They begin in as many rows as there are slots, and none of them parts from its row."""
    tokenizer = fakes.Pieces()
    model = fakes.Scripted([[3, 4, 5, tokenizer.end_id]], tokenizer.vocab_size)
    counts: list[engine_lib.Counts] = []
    config = dataclasses.replace(CONFIG, temperature=0.0)
    (problem,) = engine_lib.Engine(model, tokenizer, config, 0).run(
        [engine_lib.Prompt("a", (0,))], 40, progress=counts.append
    )
    assert len(problem) == 40 and counts[-1].tokens == 160
    assert counts[-1].prefixes == 4 * config.rows and counts[-1].steps <= 6


@pytest.mark.parametrize("rows", [1, 3])
def test_one_problem_one_sample_one_token(rows: int) -> None:
    config = dataclasses.replace(CONFIG, rows=rows, max_new_tokens=1)
    assert_same(draw(config, PROMPTS[:1], samples=1), {("a", 0): naive(PROMPTS[0], 0, 5, config)})


def test_a_model_that_waits_at_every_token_compiles_few_programs() -> None:
    tokenizer = fakes.Pieces()
    script = tokenizer.encode("<<") + [tokenizer.pieces.index("=1")]
    model = fakes.Scripted([(script * 30)[:60]], tokenizer.vocab_size)
    config = dataclasses.replace(CONFIG, temperature=0.0, rows=2, max_new_tokens=60)
    before = steps.generate._cache_size()
    (problem,) = engine_lib.Engine(model, tokenizer, config, 0).run(
        [engine_lib.Prompt("a", (0,))], 2
    )
    assert problem[0].calculator_errors == 30 and len(problem[0].tokens) == 60
    assert steps.generate._cache_size() - before <= 5


def test_no_slot_idles_while_work_is_left() -> None:
    tokenizer = fakes.Pieces()
    lengths = (2, 12, 30)
    model = fakes.Scripted(
        [[1] * (length - 1) + [tokenizer.end_id] for length in lengths], tokenizer.vocab_size
    )
    prompts = [engine_lib.Prompt(f"p{n}", (n % 3,)) for n in range(9)]
    seen: list[engine_lib.Counts] = []
    config = dataclasses.replace(CONFIG, temperature=0.0, rows=3)
    engine = engine_lib.Engine(model, tokenizer, config, 0)
    found = engine.run(prompts, 1, progress=lambda counts: seen.append(dataclasses.replace(counts)))
    assert sum(len(problem) for problem in found) == 9
    # Three at a time, each group to its longest end: 90 steps. Slot by slot, a step lost to each
    # solution: the last one ends much earlier.
    assert seen[-1].tokens == 3 * sum(lengths) and seen[-1].steps < 75


def test_memory_that_holds_no_slot_is_refused_at_the_call() -> None:
    model, tokenizer = nudged()
    engine = engine_lib.Engine(
        model, tokenizer, dataclasses.replace(CONFIG, rows=0, memory_gib=1e-5), 0
    )
    with pytest.raises(UserError, match="does not fit into memory: 1 slots"):
        engine.run(PROMPTS, 3)


@pytest.mark.usefixtures("few_programs")
def test_tokens_depend_on_no_order_subset_or_restart() -> None:
    expected = usual()
    found = draw(CONFIG, prompts=[PROMPTS[3], PROMPTS[0]], samples=[7, 1, 2])
    assert found.keys() == {(name, j) for name in "da" for j in (1, 2, 7)}
    both = [("d", 1), ("d", 2), ("a", 1), ("a", 2)]
    assert_same({key: found[key] for key in both}, {key: expected[key] for key in both})
    assert found["d", 7].tokens != found["d", 1].tokens
    assert draw(CONFIG, seed=6)["a", 1].tokens != expected["a", 1].tokens


@pytest.mark.usefixtures("few_programs")
def test_a_restart_gives_what_was_left_bit_for_bit() -> None:
    """Log-probabilities included, whichever problems an earlier start has stored: sums depend on
    the step that a solution begins in.
    """
    model, tokenizer = nudged()
    engine = engine_lib.Engine(model, tokenizer, CONFIG, 5)
    plan = engine.plan(PROMPTS, 9)
    whole = list(engine.run(PROMPTS, 9, plan))
    for stored in (whole[:1], whole[1:3], whole[:4]):
        known = fakes.stored(each for problem in stored for each in problem)
        again = list(engine.run(PROMPTS, 9, plan, stored=known))
        assert again == [problem for problem in whole if problem not in stored]


def test_no_step_compiles_anew_after_the_first_groups() -> None:
    verbs = (steps.prefill, steps.generate, state_lib.flush)
    short = [engine_lib.Prompt(f"s{n}", PROMPTS[0].tokens[: n + 1]) for n in range(5)]
    draw(CONFIG, short)
    before = [verb._cache_size() for verb in verbs]
    draw(CONFIG, [engine_lib.Prompt(f"other{n}", PROMPTS[3].tokens[: 2 * n + 1]) for n in range(5)])
    draw(CONFIG, short, samples=[4, 8, 6])
    draw(dataclasses.replace(CONFIG, temperature=1.3), short)
    assert [verb._cache_size() for verb in verbs] == before


def test_prompts_without_room_are_refused_before_anything_is_drawn() -> None:
    model, tokenizer = nudged()
    engine = engine_lib.Engine(model, tokenizer, CONFIG, 0)
    long = [
        engine_lib.Prompt(f"long{n}", (1,) * (CONTEXT - CONFIG.max_new_tokens + 1))
        for n in range(2)
    ]
    fits = engine_lib.Prompt("fits", (1,) * (CONTEXT - CONFIG.max_new_tokens))
    with pytest.raises(
        engine_lib.PromptTooLong, match=r"2 prompts have more than 56 tokens.*long0, long1"
    ) as caught:
        engine.run([fits, *long], 1)
    assert caught.value.problem_ids == ["long0", "long1"]
    assert engine.split([fits, *long]) == ([fits], long)
    engine.run([fits], 1)


@pytest.mark.parametrize(
    ("prompts", "samples", "message"),
    [
        ([engine_lib.Prompt("a", ())], 1, "1 prompts are empty"),
        ([PROMPTS[0], PROMPTS[0]], 1, "1 problems come twice: .'a'"),
        (PROMPTS, 0, "samples must be"),
        (PROMPTS, [1, 1], "samples must be"),
    ],
)
def test_calls_that_make_no_sense_are_refused(
    prompts: list, samples: int | list[int], message: str
) -> None:
    model, tokenizer = nudged()
    with pytest.raises(ValueError, match=message):
        engine_lib.Engine(model, tokenizer, CONFIG, 0).run(prompts, samples)


def test_progress_adds_up_to_all_solutions_and_all_their_tokens() -> None:
    model, tokenizer = nudged()
    seen: list[engine_lib.Counts] = []
    drawn = engine_lib.Engine(model, tokenizer, CONFIG, 5).run(
        PROMPTS, 3, progress=lambda counts: seen.append(dataclasses.replace(counts))
    )
    found = [completion for problem in drawn for completion in problem]
    assert seen[-1].solutions == len(found)
    assert (
        seen[-1].tokens
        == sum(len(completion.tokens) for completion in found)
        >= seen[-1].prefixes
        == len(
            {
                (completion.problem_id, *completion.tokens[: n + 1])
                for completion in found
                for n in range(len(completion.tokens))
            }
        )
    )
    assert seen[-1].prefixes + seen[-1].read_again <= seen[-1].slot_steps + len(found)
    assert seen[-1].refused == sum(completion.calculator_errors for completion in found)
    assert all(before.tokens <= after.tokens for before, after in itertools.pairwise(seen))
