"""What thoughts cost: a token that is written behind one, and a step that learns them.

    python -m benchmarks.thinking --model=FOLDER --rounds=3

Both are measured beside the same decoder without thoughts, in turns. The marks are the mean of all
embeddings, the head heeds nothing yet, texts are random ids, and no token ends them: what is
written is no matter, and costs the same. Peak memory is what the compiler plans for a step beside
its arguments; nothing is run for it. Thoughts are those of `quiet`: --set quiet.thought_tokens=8.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import flags as flags_lib
from benchmarks import jax_worker, needed, results
from verifier import config as config_lib
from verifier.config import Config, SampleConfig
from verifier.data import batches
from verifier.data.ahead import ahead_targets
from verifier.decode.engine import Engine, Prompt
from verifier.decode.thinking import Thinking
from verifier.hf.weights import load_weights
from verifier.model.thoughts import MARKS, Thinker
from verifier.train import step
from verifier.train.losses import lm, quiet
from verifier.train.losses.contract import Loss

PROMPTS, PROMPT_TOKENS = 8, 64


def writing(
    thinker: Thinker, tokenizer: Any, config: Config, rows: int, new_tokens: int
) -> dict[str, Callable[[], float]]:
    """By contender, what takes the seconds of a token: so many rows write all at once.

    Prompts are read in both, so a token's seconds are those between `new_tokens` and a quarter of
    them.
    """
    rng, endless = np.random.default_rng(0), jax_worker.Endless(tokenizer)
    prompts = [
        Prompt(f"{n}", rng.integers(0, tokenizer.vocab_size, PROMPT_TOKENS).tolist())
        for n in range(PROMPTS)
    ]
    few = new_tokens // 4

    def engine(most: int, thinking: Thinking | None) -> Engine:
        drawing = SampleConfig(
            temperature=1.0, max_new_tokens=most, calculator=False, rows=rows, share=False
        )
        return Engine(thinker, endless, drawing, 0, thinking=thinking)

    def seconds(engine: Engine, most: int) -> float:
        begun = time.monotonic()
        drawn = [each for group in engine.run(prompts, -(-rows // PROMPTS)) for each in group]
        assert {len(each.tokens) for each in drawn} == {most}
        return time.monotonic() - begun

    def timed(engines: Mapping[int, Engine]) -> float:
        spent = {most: seconds(engine, most) for most, engine in engines.items()}
        return (spent[new_tokens] - spent[few]) / (new_tokens - few)

    thinking = Thinking(config.quiet.thought_tokens, config.quiet.mixing)
    contenders = {"plain": None, "thoughts": thinking}
    pairs = {
        name: {most: engine(most, how) for most in (few, new_tokens)}
        for name, how in contenders.items()
    }
    return {name: lambda own=own: timed(own) for name, own in pairs.items()}


def batch_of(loss: Loss, rows: int, window: int, vocab_size: int) -> batches.Batch:
    """Windows of random ids."""
    rng = np.random.default_rng(0)
    batch = batches.zeros(batches.BatchSpec(rows, window, loss.targets))
    batch.tokens_BT[:] = rng.integers(0, vocab_size, (rows, window))
    batch.positions_BT[:], batch.ends_BT[:] = np.arange(window), window
    weight_T = np.ones(window, np.float32)
    weight_T[-1] = 0
    targets = {"lm_weight": weight_T, "lm_target": np.roll(batch.tokens_BT, -1, axis=1)}
    if (ahead := loss.targets.get("ahead_weight")) is not None:
        targets |= ahead_targets(weight_T, *ahead.shape)
    for key in loss.targets:
        batch.targets[key][:] = targets[key]
    return batch


def losses(config: Config, vocab_size: int) -> dict[str, Loss]:
    """By contender."""
    return {"plain": lm.loss(vocab_size), "thoughts": quiet.loss(vocab_size, config.quiet)}


def learning(
    thinker: Thinker, vocab_size: int, config: Config, rows: int, window: int
) -> dict[str, Callable[[], float]]:
    """By contender, what takes the seconds of a step."""
    ways = {}
    for name, loss in losses(config, vocab_size).items():
        model = thinker.backbone if name == "plain" else thinker
        graph, params, constants = step.split_model(model)
        programs, optimiser = step.compile_steps(
            (graph, constants), loss, config.finetune, 1000, 0, "finetune"
        )
        held = [step.first_state(jax.tree.map(jnp.copy, params), optimiser)]
        batch = batch_of(loss, rows, window, vocab_size)

        def timed(programs: Any = programs, held: Any = held, batch: Any = batch) -> float:
            begun = time.monotonic()
            held[0], _ = programs.step(held[0], batch)
            jax.block_until_ready(held[0])
            return time.monotonic() - begun

        ways[name] = timed
    return ways


def memory(
    thinker: Thinker, vocab_size: int, config: Config, rows: int, windows: Sequence[int]
) -> dict[str, dict[int, int]]:
    """By contender and window, bytes that a step holds beside its arguments."""
    held: dict[str, dict[int, int]] = {}
    for name, loss in losses(config, vocab_size).items():
        model = thinker.backbone if name == "plain" else thinker
        graph, params, constants = step.split_model(model)
        programs, optimiser = step.compile_steps(
            (graph, constants), loss, config.finetune, 1000, 0, "finetune"
        )
        none_done = jax.ShapeDtypeStruct((), jnp.int32)
        state = step.TrainState(params, jax.eval_shape(optimiser.init, params), none_done)
        for window in windows:
            lowered = programs.step.lower(state, batch_of(loss, rows, window, vocab_size))
            planned = lowered.compile().memory_analysis()
            held.setdefault(name, {})[window] = int(planned.temp_size_in_bytes)
            print(f"{name} window {window}: {held[name][window] / 2**20:,.1f} MiB", flush=True)
    return held


def in_turns(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender, after one measurement of each to compile."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            seconds = way()
            print(f"round {number} {name}: {seconds:.4f} s", flush=True)
            if number:
                found[name].append(seconds)
    return found


def growth(held: Mapping[int, int]) -> float | None:
    """What the last doubling of the window adds over what the one before it adds: 2 where memory
    is linear in the window, 4 where it is quadratic; None: fewer than three windows.
    """
    if len(held) < 3:
        return None
    first, second, third = list(held.values())[-3:]
    return (third - second) / max(second - first, 1)


def work(model: Any, config: Config, rows: int, window: int) -> dict[str, float]:
    """By contender, the operations that a step needs."""
    sizes, knobs = needed.sizes_of(model), config.quiet
    thoughts = needed.Thoughts(knobs.thoughts, knobs.thought_tokens - MARKS, knobs.ahead)
    plain = needed.training(sizes, [window] * rows, rows * (window - 1))
    return {
        "plain": plain.flops,
        "thoughts": needed.thoughts_training(sizes, rows, window, thoughts).flops,
    }


def main() -> None:
    """Measures, and writes a result file."""
    made = flags_lib.parser(__doc__)
    made.add_argument("--rows", type=int, default=64, help="that write at once")
    made.add_argument("--max-new-tokens", type=int, default=32)
    made.add_argument("--batch-rows", type=int, default=2, help="windows of a step")
    made.add_argument("--windows", default="256,512,1024", help="a step is timed at the first")
    made.add_argument("--parts", default="writing,learning,memory")
    flags = made.parse_args()
    setting = flags_lib.Setting(flags)
    windows, parts = [int(each) for each in flags.windows.split(",")], flags.parts.split(",")
    config = config_lib.override(Config(), [f"finetune.batch_rows={flags.batch_rows}", *flags.set])
    vocab_size = setting.tokenizer.vocab_size
    decoder = load_weights(setting.model, tokenizer_size=vocab_size, dtype=jnp.dtype(flags.dtype))
    decoder.arch = dataclasses.replace(decoder.arch, context=flags.context)
    thinker = Thinker(decoder, rngs=nnx.Rngs(0), embedding_scale=config.quiet.embedding_scale)
    facts: dict[str, Any] = {**setting.facts(), "quiet": dataclasses.asdict(config.quiet)}
    if "writing" in parts:
        ways = writing(thinker, setting.tokenizer, config, flags.rows, flags.max_new_tokens)
        seconds = in_turns(ways, flags.rounds)
        passes = config.quiet.thought_tokens + 1
        plain = [passes * each for each in seconds["plain"]]
        facts["writing"] = {"rows": flags.rows, "seconds_a_token": seconds, "passes": passes}
        facts["writing"]["over_passes"] = results.ratio(seconds["thoughts"], plain)
    if "learning" in parts:
        ways = learning(thinker, vocab_size, config, flags.batch_rows, windows[0])
        seconds = in_turns(ways, flags.rounds)
        flops = work(setting.model, config, flags.batch_rows, windows[0])
        a_flop = {name: [each / flops[name] for each in own] for name, own in seconds.items()}
        facts["learning"] = {"window": windows[0], "seconds_a_step": seconds, "work": flops}
        facts["learning"]["over_work"] = results.ratio(a_flop["thoughts"], a_flop["plain"])
    if "memory" in parts:
        held = memory(thinker, vocab_size, config, flags.batch_rows, windows)
        grown = {name: growth(own) for name, own in held.items()}
        facts["memory"] = {"bytes": held, "growth": grown}
    results.write("thinking", setting.threads, facts, flags.results)
    for part, name in (("writing", "over_passes"), ("learning", "over_work"), ("memory", "growth")):
        if part in facts:
            print(f"{part}: {name} {facts[part][name]}")


if __name__ == "__main__":
    flags_lib.guarded(main)
