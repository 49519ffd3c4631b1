"""The device's verbs of decoding: prefill, start, generate, replace, grow. Knows no text, no calculator and no problem."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from verifier.model import cache as cache_lib
from verifier.model import sampling
from verifier.model.transformer import Transformer

Weights = tuple[jax.Array, ...]


class Frame:
    """A model without its numbers. Hashed once: hashing the graph of 24 layers takes 2 ms, as long as a small model's step."""

    def __init__(self, graph: nnx.GraphDef[Transformer], tree: Any) -> None:
        self._graph, self._tree = graph, tree
        self._hash = hash((graph, tree))

    def model(self, weights: Weights) -> Transformer:
        """The model with `weights` in it (inside a jitted function: traced ones)."""
        return nnx.merge(self._graph, jax.tree.unflatten(self._tree, list(weights)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Frame) and (self._graph, self._tree) == (other._graph, other._tree))


def take_apart(model: Transformer) -> tuple[Frame, Weights]:
    """What is static about a model and its numbers, as the verbs below want them."""
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(state)
    return Frame(graph, tree), tuple(leaves)


@dataclasses.dataclass(frozen=True)
class DecodeStatic:
    """All that cannot change while decoding without compiling anew."""

    frame: Frame
    vocab_size: int  # ids below it may be written
    top_k: int
    top_p: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DecodeState:
    """All that changes while a group of P problems x J samples is decoded in lockstep.

        prompt of problem p            solution of sample (p, j)
        |<-- prefix: once a problem -->|<-- suffix: own keys, cache.length of them -->| token_PJ (newest, not read yet)

    The newest token is outside the cache so that the host may still replace it before the model reads it.
    """

    cache: cache_lib.Cache
    hidden_PJD: jax.Array  # what the newest token was drawn from
    token_PJ: jax.Array  # int32
    keys_PJ2: jax.Array  # uint32, one raw key a sample; token t is drawn with fold_in(key, t)


class Drawn(NamedTuple):
    """What the host reads after every step."""

    token_PJ: jax.Array  # int32
    logprob_PJ: jax.Array  # float32, the model's own log-probability (temperature 1) of that token


@functools.partial(jax.jit, static_argnames=("static",))
def prefill(static: DecodeStatic, weights: Weights, tokens_PS: jax.Array, length_P: jax.Array) -> tuple[cache_lib.Prefix, jax.Array]:
    """Reads right-padded prompts once; gives their keys and the hidden state [P, D] after each prompt's last token."""
    hidden_PSD, prefix = static.frame.model(weights).prefill(tokens_PS, length_P)
    return prefix, jnp.take_along_axis(hidden_PSD, (length_P - 1)[:, None, None], axis=1)[:, 0]


@functools.partial(jax.jit, static_argnames=("static", "suffix_tokens"))
def start(
    static: DecodeStatic,
    weights: Weights,
    prefix: cache_lib.Prefix,
    hidden_PD: jax.Array,
    keys_PJ2: jax.Array,
    temperature: jax.Array,
    suffix_tokens: int,
) -> tuple[DecodeState, Drawn]:
    """Forks every prompt into J samples with room for `suffix_tokens` and draws their first tokens. `prefix` may be forked again."""
    problems, samples = keys_PJ2.shape[:2]
    cache = cache_lib.fork(prefix, samples, suffix_tokens, prefix.k[0].dtype)
    hidden_PJD = jnp.broadcast_to(hidden_PD[:, None], (problems, samples, hidden_PD.shape[-1]))
    nothing_PJ = jnp.full((problems, samples), -1, jnp.int32)
    return _draw(static, static.frame.model(weights), cache, hidden_PJD, keys_PJ2, nothing_PJ, temperature)


@functools.partial(jax.jit, static_argnames=("static",), donate_argnames=("state",))
def generate(
    static: DecodeStatic, weights: Weights, state: DecodeState, forced_PJ: jax.Array, temperature: jax.Array
) -> tuple[DecodeState, Drawn]:
    """Reads every row's newest token and draws the next one; where `forced_PJ` >= 0 that token is written instead."""
    model = static.frame.model(weights)
    hidden_PJTD, cache = model.extend(state.token_PJ[..., None], state.cache)
    return _draw(static, model, cache, hidden_PJTD[:, :, 0], state.keys_PJ2, forced_PJ, temperature)


def replace(static: DecodeStatic, weights: Weights, state: DecodeState, forced_PJ: jax.Array) -> tuple[DecodeState, Drawn]:
    """Writes `forced_PJ` (-1: leave) over the newest tokens, which the model has not read yet. Rare, so its logits are computed again."""
    drawn = _rewrite(static, weights, state.hidden_PJD, state.token_PJ, forced_PJ)
    return dataclasses.replace(state, token_PJ=drawn.token_PJ), drawn


@functools.partial(jax.jit, static_argnames=("suffix_tokens",))
def grow(state: DecodeState, suffix_tokens: int) -> DecodeState:
    """The same state with room for `suffix_tokens`: short solutions need not attend over the room of long ones."""
    return dataclasses.replace(state, cache=cache_lib.grow(state.cache, suffix_tokens))


def _draw(
    static: DecodeStatic,
    model: Transformer,
    cache: cache_lib.Cache,
    hidden_PJD: jax.Array,
    keys_PJ2: jax.Array,
    forced_PJ: jax.Array,
    temperature: jax.Array,
) -> tuple[DecodeState, Drawn]:
    """Draws token number `cache.length` of every row from its hidden state, or writes the forced one."""
    problems, samples, width = hidden_PJD.shape
    rows = problems * samples
    logits_BV = model.logits(hidden_PJD.reshape(rows, width))
    uniform_B = sampling.uniforms(keys_PJ2.reshape(rows, 2), cache.length)
    drawn_B, logprob_B = sampling.draw(
        logits_BV, uniform_B, temperature, top_k=static.top_k, top_p=static.top_p, vocab_size=static.vocab_size
    )
    forced_B = forced_PJ.reshape(rows)
    token_B = jnp.where(forced_B >= 0, forced_B, drawn_B).astype(jnp.int32)
    # Most steps force nothing: only the others pay for a second pass over the vocabulary.
    logprob_B = jax.lax.cond(
        jnp.any(forced_B >= 0),
        lambda: jnp.where(forced_B >= 0, _logprob(logits_BV, token_B, static.vocab_size), logprob_B),
        lambda: logprob_B,
    )
    token_PJ = token_B.reshape(problems, samples)
    state = DecodeState(cache, hidden_PJD, token_PJ, keys_PJ2)
    return state, Drawn(token_PJ, logprob_B.reshape(problems, samples))


@functools.partial(jax.jit, static_argnames=("static",))
def _rewrite(static: DecodeStatic, weights: Weights, hidden_PJD: jax.Array, token_PJ: jax.Array, forced_PJ: jax.Array) -> Drawn:
    """Apart from the cache, so that it is compiled once for all its sizes."""
    token_PJ = jnp.where(forced_PJ >= 0, forced_PJ, token_PJ)
    return Drawn(token_PJ, _logprob(static.frame.model(weights).logits(hidden_PJD), token_PJ, static.vocab_size))


def _logprob(logits_xV: jax.Array, token_x: jax.Array, vocab_size: int) -> jax.Array:
    """The log-probability of `token_x` at temperature 1 among the ids that may be written."""
    logits_xV = logits_xV[..., :vocab_size].astype(jnp.float32)
    chosen_x = jnp.take_along_axis(logits_xV, token_x[..., None], axis=-1)[..., 0]
    return chosen_x - jax.nn.logsumexp(logits_xV, axis=-1)
