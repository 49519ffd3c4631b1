"""Counted operations are those that the compiler counts in the real programs; the rest follows from
peaks.
"""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from verifier import config as config_lib
from verifier.data import batches
from verifier.decode import memory, split_model
from verifier.decode import programs as decode_programs
from verifier.decode.thinking import Thinking
from verifier.model import lora
from verifier.model.arch import Arch
from verifier.model.thoughts import Thinker
from verifier.model.transformer import Transformer
from verifier.plan import costs, devices, programs
from verifier.train import step
from verifier.train.losses import lm, quiet

ARCH = Arch(
    512, layers=2, width=128, heads=8, kv_heads=4, head_width=16, mlp_width=256, context=128
)
ONE = {"data": 1, "fsdp": 1, "tensor": 1}


@pytest.mark.parametrize(
    "changes", [{}, {"tied": False, "gated": False, "kv_heads": 8}], ids=["llama", "other"]
)
@pytest.mark.parametrize("remat", [False, True])
def test_a_training_step_has_the_operations_that_the_compiler_counts(changes, remat):
    arch = dataclasses.replace(ARCH, **changes)
    config = config_lib.FinetuneConfig(batch_rows=4, row_tokens=64, remat=remat)
    counted, _ = of_a_step(lambda: Transformer(arch, rngs=nnx.Rngs(0)), lm.loss(500), config)
    assert costs.train_step(arch, config, ONE, 4).operations == pytest.approx(counted, rel=0.1)


def of_a_step(make, loss, config):
    """The operations that the compiler counts in a training step, and the model's parameters."""
    graph, params, constants = step.split_model(nnx.eval_shape(make))
    made, optimizer = step.compile_steps((graph, constants), loss, config, 9, 0, "")
    moments = jax.eval_shape(optimizer.init, lora.trained(params))
    state = step.TrainState(params, moments, jax.ShapeDtypeStruct((), jnp.int32))
    rows = batches.BatchSpec(config.batch_rows, config.row_tokens, loss.targets)
    lowered = made.step.lower(state, batches.zeros(rows))
    return programs.compiled(lowered).cost_analysis()["flops"], params


@pytest.mark.parametrize("remat", [False, True])
def test_a_step_of_adapters_has_the_operations_that_the_compiler_counts(remat):
    config = config_lib.FinetuneConfig(batch_rows=4, row_tokens=64, remat=remat)

    def adapted():
        model = Transformer(ARCH, rngs=nnx.Rngs(0))
        lora.attach(model, config_lib.ModelConfig(lora_rank=8), jax.random.key(0))
        return model

    counted, params = of_a_step(adapted, lm.loss(500), config)
    adapters = sum(leaf.size for leaf in jax.tree.leaves(lora.trained(params)))
    planned = costs.train_step(ARCH, config, ONE, 4, adapters=adapters)
    assert planned.operations == pytest.approx(counted, rel=0.1)
    whole = costs.train_step(ARCH, config, ONE, 4)
    assert planned.operations < 0.85 * whole.operations and planned.bytes < whole.bytes


# One token is drawn at most: the compiler counts what a loop does once.
@pytest.mark.parametrize("changes", [{"thought_tokens": 2}, {}, {"thought_source": "pause"}])
def test_a_step_with_thoughts_has_the_operations_that_the_compiler_counts(changes):
    thoughts = config_lib.QuietConfig(**{"thought_tokens": 3, "ahead": 2, **changes})
    config = config_lib.FinetuneConfig(batch_rows=2, row_tokens=32)
    counted, _ = of_a_step(thinker, quiet.loss(500, thoughts), config)
    found = costs.thoughts_step(ARCH, config, thoughts, ONE, 4).operations
    assert found == pytest.approx(counted, rel=0.1)


@pytest.mark.parametrize("thought_tokens", [0, 2, 3])
def test_a_token_behind_a_thought_has_the_operations_that_the_compiler_counts(thought_tokens):
    config = config_lib.SampleConfig(max_new_tokens=64, share=False)
    weights = split_model.outline(nnx.eval_shape(thinker), 500)
    job = memory.SamplingJob(64, 16, 1, 64, share=False, thought_tokens=thought_tokens)
    sizes = memory.job_sizes(ARCH, weights, job, 16, 1.0, "cpu")
    thinking = Thinking(thought_tokens) if thought_tokens else None
    model = nnx.eval_shape(thinker)
    shapes = decode_programs.sampling_shapes(
        model if thinking else model.backbone, 500, config, sizes, None, thinking
    )
    lowered = decode_programs.sampling(shapes, config, sizes)["generate"]
    counted = programs.compiled(lowered).cost_analysis()["flops"]
    of_token = costs.written_token(ARCH, sizes.prompt_tokens + 64 + 32, thought_tokens)
    assert sizes.rows * of_token == pytest.approx(counted, rel=0.1)


def thinker():
    return Thinker(Transformer(ARCH, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))


def test_remat_and_depth_cost_what_they_say():
    config = config_lib.FinetuneConfig(batch_rows=4, row_tokens=64)
    plain, again = (
        costs.train_step(ARCH, dataclasses.replace(config, remat=remat), ONE, 2)
        for remat in (False, True)
    )
    layers = 4 * 64 * costs.token_operations(ARCH, 64, False)
    assert again.operations - plain.operations == pytest.approx(layers)
    divided = costs.train_step(ARCH, config, {"data": 2, "fsdp": 2, "tensor": 2}, 2)
    assert divided.operations * 8 == pytest.approx(plain.operations)
    # what is gathered is not divided by data and fsdp
    assert plain.bytes / 8 < divided.bytes < plain.bytes


def test_a_step_takes_as_long_as_the_slower_of_products_and_memory():
    kind = devices.KINDS["h100"]
    compute, memory = costs.StepCost(989e12, 1.0), costs.StepCost(1.0, 3350e9)
    assert (
        compute.seconds(kind, True) == pytest.approx(1 / costs.COMPUTE_SHARE)
        and compute.bound(kind, True) == "compute"
    )
    assert compute.seconds(kind, False) == pytest.approx(2 / costs.COMPUTE_SHARE)
    assert (
        memory.seconds(kind, True) == pytest.approx(1 / costs.MEMORY_SHARE)
        and memory.bound(kind, True) == "memory"
    )
