"""What each stage with a model holds on one device, and how much it works.

Compiles the stages' own programs; runs nothing.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from verifier.config import MeshConfig
from verifier.data import batches
from verifier.data.batches import Batch, BatchSpec
from verifier.decode import memory, score_rows, split_model
from verifier.decode import programs as decode_programs
from verifier.decode.prompt_blocks import BLOCK_ROWS
from verifier.decode.thinking import Thinking
from verifier.model import lora, sharding
from verifier.model.cache import WINDOW
from verifier.plan import amounts, costs, programs
from verifier.plan.abstract_model import abstract_model, device_bytes, itemsize, layer_devices
from verifier.plan.costs import StepCost
from verifier.plan.devices import Devices
from verifier.plan.programs import Size
from verifier.plan.published import Text
from verifier.plan.subject import Subject
from verifier.run import device_checks
from verifier.run.stage import Job
from verifier.train import step

_UNBOUNDED_GIB = 2.0**20  # where nothing is known of the device


class Footprint(NamedTuple):
    """What one stage holds on a device, and what it costs, as it would run."""

    name: str
    rows: str  # of a step on all devices
    held: dict[str, int]  # bytes on one device, by what they are
    loading: int  # bytes on one device while the model is read
    cost: StepCost  # of a step on one device
    tokens: float  # of a step on all devices, padding and idle slots left out
    wanted: float  # tokens of the whole stage

    @property
    def total(self) -> int:
        """Bytes on one device at most."""
        return max(sum(self.held.values()), self.loading)


def closed(mesh: MeshConfig, devices: Devices) -> MeshConfig:
    """The mesh with the number that -1 stands for.

    Raises:
        ConfigError: it does not make up the devices.
    """
    return MeshConfig(*sharding.make_mesh(mesh, jax.devices()[: devices.count]).shape.values())


def plan(subject: Subject, job: Job, devices: Devices) -> Footprint:
    """What a job needs on one device.

    Args:
        subject: what runs.
        job: of a stage.
        devices: of the run; JAX must have as many virtual ones.

    Raises:
        ConfigError: a mesh that does not divide devices, model or rows.
        UserError: sampling does not fit (`memory.job_sizes`), or how much a job reads is not known.
    """
    config = subject.config
    of_all = jax.devices()[: devices.count]
    whole = sharding.make_mesh(config.mesh, of_all)
    sharding.check(subject.arch, whole)
    if job.kind == "train":
        return _train(subject, job, whole)
    own = sharding.own_mesh(config.mesh, of_all, of_all[: devices.a_host])
    # A CPU without a mesh reads a few rows at a time (`model.attention`), as no accelerator does.
    alone = sharding.make_mesh(MeshConfig(1, 1, 1), of_all[:1]) if own is None else None
    with sharding.using(alone):
        return (_draw if job.kind == "draw" else _read)(subject, job, own, devices)


def _train(subject: Subject, job: Job, mesh: Mesh) -> Footprint:
    """A training job: the step, and the reading of a held-out batch."""
    config = job.section(subject.config)
    device_checks.check_rows(job.name, config, mesh)
    assert job.loss is not None  # of a training job
    loss = job.loss(subject.config, subject.vocab_size)
    thoughts = job.thoughts(subject.config) if job.thoughts else None

    def made(layers: int) -> tuple[step.Programs, step.TrainState, Batch]:
        graph, params, constants = step.split_model(
            abstract_model(subject, layers, job.value_head, True, thoughts is not None)
        )
        steps, optimizer = step.compile_steps(
            (graph, constants), loss, config, 1000, subject.config.seed, job.name
        )
        rows = NamedSharding(mesh, sharding.ROWS)
        zeros = batches.zeros(BatchSpec(config.batch_rows, config.row_tokens, loss.targets))
        batch = jax.tree.map(
            lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=rows), zeros
        )
        return steps, step.state_shapes(params, optimizer, mesh), batch

    def measure(layers: int) -> dict[str, Size]:
        steps, state, batch = made(layers)
        with sharding.using(mesh):
            jitted: Any = steps.step
            sizes = {"step": programs.size(programs.compiled(jitted.lower(state, batch)))}
            # Held-out batches are not divided into micro-batches.
            if config.accumulate > 1:
                jitted = steps.evaluate
                program = programs.compiled(jitted.lower(state.params, batch))
                sizes["evaluate"] = programs.size(program)
        return sizes

    _, state, batch = made(subject.arch.layers)
    held = {
        "parameters": device_bytes(state.params),
        "optimiser": device_bytes((state.optimiser, state.step)),
        "batch": device_bytes(batch),
    }
    held["temporaries"] = max(
        size.temporaries for size in programs.at_depth(measure, subject.arch).values()
    )
    sizes = dict(mesh.shape), itemsize(subject)
    if thoughts is not None and thoughts.thought_tokens:
        cost = costs.thoughts_step(subject.arch, config, thoughts, *sizes)
    else:
        # `losses.no_thought` draws, says what it loses, and makes logits anew going backward.
        outputs = 6 if loss.draws else 3
        cost = costs.train_step(subject.arch, config, *sizes, outputs, _adapters(state.params))
    rows = f"{config.batch_rows} x {config.row_tokens}"
    return Footprint(
        job.name,
        rows,
        held,
        0,
        cost,
        costs.PACKED * config.batch_rows * config.row_tokens,
        amounts.trained_tokens(subject, job),
    )


def _adapters(params: Any) -> int:
    """How many parameters are learned beside a frozen base; 0: all are."""
    if not lora.is_adapted(params):
        return 0
    return sum(leaf.size for leaf in jax.tree.leaves(lora.trained(params)))


def _draw(subject: Subject, job: Job, mesh: Mesh | None, devices: Devices) -> Footprint:
    """Sampling on one machine; the others do the same."""
    config, arch, thinking = subject.config.sample, subject.arch, _thinking(subject, job)
    thought_tokens = thinking.thought_tokens if thinking else 0
    model = abstract_model(subject, arch.layers, False, thinks=thinking is not None)
    splits = amounts.asked(subject, job)
    most = max(splits.values(), key=lambda each: each[0].problems * each[1])
    groups = sharding.groups(mesh)
    longest = min(
        max(text.longest for text, _ in splits.values()),
        max(arch.context - config.max_new_tokens - max(thought_tokens - 1, 0), 1),
    )
    asked = memory.SamplingJob(
        longest,
        most[0].problems,
        most[1],
        config.max_new_tokens,
        groups * devices.hosts,
        config.share and thinking is None,
        thought_tokens,
    )
    weights = split_model.outline(model, subject.vocab_size, mesh)
    gib = config.memory_gib or (
        devices.kind.gigabytes * 1e9 * memory.USABLE / 2**30 if devices.kind else _UNBOUNDED_GIB
    )
    part = sharding.part_of(arch, mesh)
    sizes = memory.job_sizes(
        part, weights, asked, config.rows, gib, devices.kind.platform if devices.kind else "tpu"
    )

    def shapes(layers: int) -> decode_programs.SamplingShapes:
        model = abstract_model(subject, layers, False, thinks=thinking is not None)
        return decode_programs.sampling_shapes(
            model, subject.vocab_size, config, sizes, mesh, thinking
        )

    def measure(layers: int) -> dict[str, Size]:
        sampling = decode_programs.sampling(shapes(layers), config, sizes)
        return {name: programs.size(programs.compiled(each)) for name, each in sampling.items()}

    held = {"parameters": device_bytes(weights), "caches": device_bytes(shapes(arch.layers).state)}
    held["temporaries"] = max(
        size.temporaries for size in programs.at_depth(measure, arch).values()
    )
    stored = nnx.state(model, nnx.Param)
    stored = stored if mesh is None else sharding.place_parameters(stored, mesh, sharding.DECODING)
    # Parameters are read as float32, and cast.
    copied = held["parameters"] if itemsize(subject) < 4 else 0
    cost = _drawing_cost(subject, sizes, (held["parameters"], thought_tokens), most[0], mesh)
    slots = sizes.rows * groups * devices.hosts
    return Footprint(
        job.name,
        f"{slots:,} slots",
        held,
        device_bytes(stored) + copied,
        cost,
        costs.SLOTS_USED * slots,
        amounts.written_tokens(subject, job),
    )


def _thinking(subject: Subject, job: Job) -> Thinking | None:
    """How what draws thinks. Where it does before steps alone it is planned as before every token:
    of many rows some begin a step at every token, and all of them wait for the thought.
    """
    thoughts = job.thoughts(subject.config) if job.thoughts else None
    if thoughts is None or not thoughts.thought_tokens or subject.config.think.every == "none":
        return None
    return Thinking(thoughts.thought_tokens, thoughts.mixing)


def _drawing_cost(
    subject: Subject,
    sizes: memory.JobSizes,
    model: tuple[int, int],
    text: Text,
    mesh: Mesh | None,
) -> StepCost:
    """One token of every slot, half-way through solutions of the mean length.

    Args:
        subject: whose generator draws.
        sizes: of the job.
        model: bytes of its parameters on a device, and tokens of a thought of its, or 0. A thought
            of A is as many passes over the parameters, the token itself among them, and A + 1 over
            the keys.
        text: of the split.
        mesh: whose devices share the work; None: one device.
    """
    written = text.solution / 2  # tokens of a solution under way
    part = sharding.part_of(subject.arch, mesh)
    token_bytes = 2 * part.layers * part.kv_heads * part.head_width * itemsize(subject)
    keys = -(-sizes.rows // BLOCK_ROWS) * sizes.prompt_tokens + sizes.rows * (written + WINDOW / 2)
    held, thought_tokens = model
    of_token = costs.written_token(subject.arch, text.prompt + written, thought_tokens)
    moved = max(thought_tokens, 1) * held + (thought_tokens + 1) * keys * token_bytes
    return StepCost(sizes.rows * of_token / layer_devices(mesh), moved)


def _read(subject: Subject, job: Job, mesh: Mesh | None, devices: Devices) -> Footprint:
    """Scoring on one machine; the others do the same."""
    config, arch = subject.config, subject.arch
    texts, group = subject.texts["test"], _solutions_read(subject)
    rows, row_tokens = 0, 0

    def measure(layers: int) -> dict[str, Size]:
        nonlocal rows, row_tokens
        verifier = abstract_model(subject, layers, True)
        (rows, row_tokens), program = decode_programs.scoring(
            verifier, group, config.score, mesh, programs.compiled
        )
        return {"rows": programs.size(program)}

    sizes = programs.at_depth(measure, arch)
    stored = nnx.state(abstract_model(subject, arch.layers, True), nnx.Param)
    stored = stored if mesh is None else sharding.place_parameters(stored, mesh)
    narrow = itemsize(subject) / 4
    held = {
        # Float32 as they were saved, and cast.
        "parameters": round(device_bytes(stored) * (1 + (narrow if narrow < 1 else 0))),
        "temporaries": sizes["rows"].temporaries,
    }
    parts = 1 if mesh is None else mesh.size
    tokens = rows * row_tokens
    keys = group[0].depth()
    operations = tokens * costs.token_operations(arch, keys, False) / parts
    gathered = costs.layer_parameters(arch) * arch.layers * itemsize(subject) / layer_devices(mesh)
    read = {
        split: subject.texts[split].problems * getattr(config.sample, f"{split}_samples")
        for split in ("heldout", "test")
    }
    return Footprint(
        job.name,
        f"{devices.hosts * rows} x {row_tokens}",
        held,
        0,
        StepCost(operations, gathered),
        costs.PACKED * tokens * devices.hosts,
        sum(read.values()) * texts.solution,
    )


def _solutions_read(subject: Subject) -> list[score_rows.Solutions]:
    """Test problems as the verifier reads them, one of whose samples comes to no end; in what they
    share they are as trees that part at their first token.
    """
    config, texts = subject.config, subject.texts["test"]
    samples = config.sample.test_samples
    lengths = [config.sample.max_new_tokens, *[round(texts.solution)] * (samples - 1)]
    longest = min(texts.longest, max(subject.arch.context - config.sample.max_new_tokens, 1))
    each = score_rows.Solutions(
        "", [0] * longest, range(samples), [[n] * length for n, length in enumerate(lengths)]
    )
    return [each] * min(max(score_rows.TOGETHER, 2 * config.score.rows), texts.problems)
