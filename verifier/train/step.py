"""One step on the device: micro-batches, gradient, update, and the terms of a held-out batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from verifier import config as config_lib
from verifier.data.batches import Batch
from verifier.model import keys, lora, sharding
from verifier.model.layers import DropoutRate
from verifier.train import optimizer
from verifier.train.losses.contract import Loss, Terms

# Folded into a micro-batch's key for what its loss draws; layers have theirs from 0 on.
_DRAWN = 2**30


class TrainState(NamedTuple):
    """All that a step changes."""

    params: Any  # nnx.State of nnx.Param
    optimiser: Any
    step: jax.Array  # int32, steps done


class Programs(NamedTuple):
    """The two compiled functions of a job; neither compiles again after its first call."""

    step: Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]  # the state is donated
    evaluate: Callable[[Any, Batch], Terms]  # (params, batch), without dropout


def split_model(model: nnx.Module) -> tuple[Any, Any, Any]:
    """Returns a module's graph definition, its parameters, and its other arrays.

    The first and the last are constants while training.
    """
    graphdef, *states = nnx.split(model, nnx.Param, ...)
    return graphdef, states[0], states[1]


def first_state(params: Any, optimiser: optax.GradientTransformation) -> TrainState:
    """The state before any step.

    On a mesh, the counters are put on all of it: the first step would else compile for other
    shardings than the next.
    """
    state = TrainState(params, optimiser.init(lora.trained(params)), jnp.zeros((), jnp.int32))
    mesh = sharding.mesh_of(params)
    if mesh is None:
        return state
    return jax.tree.map(
        lambda leaf: leaf if sharding.mesh_of(leaf) else sharding.replicated(leaf, mesh), state
    )


def state_shapes(params: Any, optimiser: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """What `first_state` gives of `jax.eval_shape`'s parameters: shapes, types and shardings."""
    count: Any = jax.ShapeDtypeStruct((), jnp.int32)
    state = TrainState(params, jax.eval_shape(optimiser.init, lora.trained(params)), count)
    return sharding.place_parameters(state, mesh)  # the moments have the names of their parameters


def compile_steps(
    static: tuple[Any, Any],
    loss: Loss,
    config: config_lib.TrainConfig,
    steps: int,
    seed: int,
    job: str,
) -> tuple[Programs, optax.GradientTransformation]:
    """Builds the programs of a job.

    Dropout draws from fold_in(fold_in(key_of(seed, job), step), micro-batch): a resumed job drops
    what the unbroken one would have dropped.

    Args:
        static: graph definition and constant arrays of the module.
        loss: its terms are sums and weights, so that `accumulate` changes memory, and of the
            numbers only what is dropped out or drawn.
        config: of the job.
        steps: of the whole job; the schedule ends there.
        seed: of the dropout.
        job: its name, so that two jobs of a run do not drop the same.

    Returns:
        The programs, and the optimiser for `first_state`.
    """
    objective = _Objective(*static, loss, config)
    schedule = optimizer.make_schedule(config, steps)
    dropout = optimizer.make_dropout(config, steps)
    update = optimizer.make_optimizer(config, steps)

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(keys.key_of(seed, job), state.step)
        rate = dropout(state.step)
        grads, terms = objective.gradient(state.params, batch, key, rate)
        trained = lora.trained(state.params)
        updates, optimiser = update.update(grads, state.optimiser, trained)
        params = lora.with_trained(state.params, optax.apply_updates(trained, updates))
        numbers = {
            "loss": loss.total(terms, loss.divisors(batch)),
            "gradient_norm": optax.global_norm(grads),
            "update_norm": optax.global_norm(updates),
            "learning_rate": schedule(state.step),
            "terms": terms,
        }
        if isinstance(rate, jax.Array):
            numbers["dropout"] = rate
        return TrainState(params, optimiser, state.step + 1), numbers

    def evaluate(params: Any, batch: Batch) -> Terms:
        how: dict[str, Any] = {"dropout": 0.0, "dropout_key": None, "remat": False}
        if loss.draws:  # the same whenever parameters are judged
            how["draw_key"] = keys.key_of(seed, f"{job}, held out")
        return objective.terms(params, batch, **how)

    return Programs(jax.jit(step, donate_argnums=0), jax.jit(evaluate)), update


@dataclasses.dataclass(frozen=True)
class _Objective:
    """A job's loss as a function of parameters, and its gradient over micro-batches."""

    graphdef: Any
    constants: Any
    loss: Loss
    config: config_lib.TrainConfig

    def terms(self, params: Any, batch: Batch, **how: Any) -> Terms:
        """The loss's terms; `how` as `contract.TermsFunction` says."""
        return self.loss.terms(nnx.merge(self.graphdef, params, self.constants), batch, **how)

    def gradient(
        self, params: Any, batch: Batch, key: jax.Array, dropout: DropoutRate
    ) -> tuple[Any, Terms]:
        """The gradient of a step's whole batch for what is trained, and its terms."""
        by, config = self._divisors(batch), self.config

        def micro_loss(
            trained: Any, micro: Batch, key: jax.Array | None
        ) -> tuple[jax.Array, Terms]:
            how = {"dropout": dropout, "dropout_key": key, "remat": config.remat}
            if self.loss.draws:
                assert key is not None  # `one` makes it
                how |= {"draw_key": jax.random.fold_in(key, _DRAWN)}
            terms = self.terms(lora.with_trained(params, trained), micro, **how)
            return self.loss.total(terms, by), terms

        def one(index: Any, micro: Batch) -> tuple[Any, Terms]:
            own = jax.random.fold_in(key, index) if config.dropout or self.loss.draws else None
            return jax.grad(micro_loss, has_aux=True)(lora.trained(params), micro, own)

        def add(carry: Any, numbered: tuple[Any, Batch]) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, carry, one(*numbered)), None

        if config.accumulate == 1:
            return one(0, batch)
        parts = jax.tree.map(lambda array: _micro_batches(array, config.accumulate), batch)
        shapes = jax.eval_shape(one, 0, jax.tree.map(lambda array: array[0], parts))
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return jax.lax.scan(add, zeros, (jnp.arange(config.accumulate), parts))[0]

    def _divisors(self, batch: Batch) -> dict[str, jax.Array]:
        """What a gradient's terms are divided by.

        A batch that lacks rows, as a job's last one may, weighs in the moments by those it has: the
        share of used rows is exactly 1 but at a job's end.
        """
        used = (jnp.asarray(batch.ends_BT) > 0).any(axis=1).mean()
        return {name: weight / used for name, weight in self.loss.divisors(batch).items()}


def _micro_batches(array: jax.Array, count: int) -> jax.Array:
    """[B, ...] -> [count, B / count, ...].

    Micro-batch m takes every count-th row, so each device of a mesh has a part in each of them.
    """
    return jnp.moveaxis(array.reshape(array.shape[0] // count, count, *array.shape[1:]), 1, 0)
