"""The two training stages: finetune makes the generator, verify the verifier.

Knows examples, not how they are fitted.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier import config as config_lib
from verifier import errors
from verifier.data import batches
from verifier.evaluate import caveats
from verifier.hf import files as hf_files
from verifier.hf import weights as hf_weights
from verifier.model import keys, sharding
from verifier.model.arch import Arch
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier, fresh_row
from verifier.model.transformer import Transformer, scratch_arch
from verifier.run import device_checks, hosts, inputs, model_folder, workdir
from verifier.run.context import Run
from verifier.system import log
from verifier.tables import provenance, store
from verifier.tasks import sources
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.problem import Problem
from verifier.text.tokenizer import Tokenizer
from verifier.train import checkpoint, loop, losses, step

_JOBS = device_checks.JOBS


def finetune(run: Run) -> None:
    """Fits the generator to ground-truth solutions, after further pre-training where that is asked
    for.
    """
    config, folder = run.config, run.dir.generator
    own = workdir.settings(config, "finetune")
    if run.finished("finetune", folder, own):
        return
    begun = time.monotonic()
    found = run.problems()
    tokenizer = _tokenizer(config, found["train"])
    mesh = sharding.make_mesh(config.mesh)
    jobs = generator_jobs(config)
    if "verify" not in jobs:
        check_verifier_base(config)
    model = _base_model(config, tokenizer, mesh, jobs)
    read = inputs.sums(config, "finetune")
    facts: dict[str, Any] = {
        "settings": own,
        "weights": _weight_sums(config.model.weights),
        "inputs": read,
    }
    facts["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    log.say(
        f"finetune: {facts['parameters']:,} parameters, {tokenizer.vocab_size:,} tokens in the "
        "vocabulary"
    )
    for name in ("pretrain", "finetune"):
        job_config: config_lib.TrainConfig = getattr(config, name)
        if not job_config.has_work:
            continue
        examples = (
            _pretrain_examples(run, found["train"], tokenizer)
            if name == "pretrain"
            else _lm_examples(run, found["train"], tokenizer, job_config)
        )
        heldout = _lm_examples(run, found["heldout"], tokenizer, job_config)
        loss = loss_of(name, config, tokenizer.vocab_size)
        facts[name] = _fit(
            run,
            name,
            model,
            loss,
            examples,
            heldout,
            folder / f"{name}-checkpoints",
            inputs.identity(own, read),
        )
    earlier = sum(
        facts[name]["earlier_seconds"] for name in ("pretrain", "finetune") if name in facts
    )
    facts |= {
        "template": dataclasses.asdict(run.template()),
        "seconds": earlier + time.monotonic() - begun,
    }
    name = model_folder.save(folder, model, tokenizer, facts)
    for job in ("pretrain", "finetune"):  # of no more use, and three times the size of the model
        checkpoint.remove_checkpoints(folder / f"{job}-checkpoints")
    log.say(f"finetune: generator {name} saved in {folder}")


def verify(run: Run) -> None:
    """Fits the verifier to labelled samples and ground truth, from the generator's weights."""
    config, folder = run.config, run.dir.verifier
    mesh = sharding.make_mesh(config.mesh)
    generator = model_folder.outline(run.dir.generator, "finetune", config.model.dtype)
    made_from = {
        "generator": generator.id,
        "labels": run.table_id("labels", "train"),
        "heldout_labels": run.table_id("labels", "heldout"),
    }
    own = workdir.settings(config, "verify") | made_from
    if run.finished("verify", folder, own):
        return
    begun = time.monotonic()
    drawn_by = {split: run.drawn_by(split, generator.id) for split in ("train", "heldout")}
    found = run.problems()
    backbone, tokenizer, weights = _verifier_base(run, generator, mesh)
    reads_text = _reads_text(tokenizer, generator, drawn_by)
    examples = _value_examples(run, "train", found["train"], tokenizer, reads_text)
    heldout = _value_examples(run, "heldout", found["heldout"], tokenizer, reads_text)
    if config.verify.lm_weight:
        truth = _lm_examples(run, found["train"], tokenizer, config.verify)
        # Where few samples are read many times, all of the ground truth is to be read beside them.
        passes = -(-len(truth) // max(len(examples), 1)) if config.verify.steps else 1
        examples = batches.mix(examples, truth, config.seed, passes)
        heldout = [*heldout, *_lm_examples(run, found["heldout"], tokenizer, config.verify)]
    model = Verifier(backbone, _fresh_head(config, backbone, tokenizer))
    nnx.update(model, sharding.place_parameters(nnx.state(model, nnx.Param), mesh))
    loss = loss_of("verify", config, tokenizer.vocab_size)
    read = inputs.sums(config, "verify")
    fitted = _fit(
        run,
        "verify",
        model,
        loss,
        examples,
        heldout,
        folder / "verify-checkpoints",
        inputs.identity(own, read),
    )
    facts: dict[str, Any] = {"settings": own, "weights": weights, "inputs": read, "verify": fitted}
    facts |= {"generator": generator.id, "trained_on": drawn_by["train"], "reads_text": reads_text}
    facts |= {
        "template": dataclasses.asdict(run.template()),
        "seconds": fitted["earlier_seconds"] + time.monotonic() - begun,
    }
    name = model_folder.save(folder, model, tokenizer, facts)
    checkpoint.remove_checkpoints(folder / "verify-checkpoints")
    log.say(f"verify: verifier {name} saved in {folder}")


def generator_jobs(config: config_lib.Config) -> tuple[str, ...]:
    """The jobs that train what `model.weights` names: the verifier's is not among them where it
    starts from weights of its own.
    """
    return _JOBS[:2] if config.verify.init == "base" and config.verify.weights else _JOBS


def check_verifier_base(config: config_lib.Config) -> None:
    """Looks at what `verify.weights` names before anything is trained.

    Raises:
        UserError: no such weights, a family that is not supported, or rows longer than its context.
    """
    folder = hf_files.resolve_weights(config.verify.weights)
    base_arch(
        hf_weights.arch_from_hf(hf_files.read_json(folder / "config.json")),
        config,
        folder,
        jobs=("verify",),
    )


def _verifier_base(
    run: Run, generator: model_folder.Saved, mesh: jax.sharding.Mesh
) -> tuple[Transformer, Tokenizer, dict[str, str]]:
    """What the verifier starts from, its tokenizer, and the sums of the files of `verify.weights`
    where these bring their own.

    Raises:
        UserError: the generator's base model, from which the verifier is to start too, has changed
            since.
    """
    config = run.config
    if config.verify.init == "generator":
        return (
            model_folder.load(run.dir.generator, "finetune", config.model.dtype, mesh).model,
            generator.tokenizer,
            {},
        )
    if not config.verify.weights:
        changed = config_lib.differences(
            generator.manifest["weights"], _weight_sums(config.model.weights)
        )
        if changed:
            raise errors.UserError(
                f"model.weights={config.model.weights!r} has changed since the generator was "
                f"made from it ({changed[0]}): put back the files it had, or start anew in "
                "another --workdir"
            )
        return _base_model(config, generator.tokenizer, mesh), generator.tokenizer, {}
    model = dataclasses.replace(config.model, weights=config.verify.weights)
    other = dataclasses.replace(config, model=model, tokenizer=config_lib.TokenizerConfig())
    tokenizer = _tokenizer(other, [])
    return (
        _base_model(other, tokenizer, mesh, jobs=("verify",)),
        tokenizer,
        _weight_sums(config.verify.weights),
    )


def _reads_text(
    tokenizer: Tokenizer, generator: model_folder.Saved, drawn_by: Mapping[str, str]
) -> bool:
    """Whether the verifier reads solutions as text, which is said; their ids only where they are
    known to be in its own tokens.

    Args:
        tokenizer: the verifier's.
        generator: that of the workdir.
        drawn_by: the generator that drew the samples, by split.
    """
    others = sorted(set(drawn_by.values()) - {generator.id})
    if others:
        log.say(
            f"verify: samples were drawn by generator {', '.join(others)}, whose tokens are "
            "not known: solutions are read as text"
        )
    elif not tokenizer_lib.same_ids(tokenizer, generator.tokenizer):
        log.say(
            "verify: the verifier has other tokens than the generator: solutions are read as "
            "text, in its own"
        )
    else:
        return False
    return True


def loss_of(job: str, config: config_lib.Config, vocab_size: int) -> step.Loss:
    """What a training job (pretrain, finetune or verify) makes smaller, under its settings."""
    if job != "verify":
        return functools.partial(losses.lm, vocab_size=vocab_size)
    chosen = config.verify
    return functools.partial(
        losses.verifier_joint,
        vocab_size=vocab_size,
        value_loss=chosen.value_loss,
        lm_weight=chosen.lm_weight,
    )


def base_arch(
    arch: Arch, config: config_lib.Config, source: object, jobs: Sequence[str] = _JOBS
) -> Arch:
    """An imported decoder as a run has it: with a context of `model.context` at most.

    Args:
        arch: as it was imported.
        config: of the run.
        source: where it comes from, for the message.
        jobs: those that are to train it.

    Raises:
        ConfigError: a training job's rows are longer.
    """
    if arch.positions == "rotary":  # learned positions are parameters: their number stays
        arch = dataclasses.replace(arch, context=min(arch.context, config.model.context))
    for name in jobs:
        job: config_lib.TrainConfig = getattr(config, name)
        if job.has_work and job.row_tokens > arch.context:
            raise errors.ConfigError(
                f"{name}.row_tokens={job.row_tokens} is more than the context of "
                f"{arch.context} tokens of {source}"
            )
    return arch


def _tokenizer(config: config_lib.Config, train: Sequence[Problem]) -> Tokenizer:
    """The tokenizer that the settings name; a SentencePiece model without a path is trained on the
    training problems.

    Raises:
        ConfigError: kind, path and weights do not go together.
    """
    kind, path, weights = config.tokenizer.kind, config.tokenizer.path, config.model.weights
    if weights and (kind == "bytes" or (kind == "sentencepiece" and not path)):
        raise errors.ConfigError(
            f"tokenizer.kind={kind} makes a new vocabulary, which model.weights={weights!r} "
            "was not trained with; set auto"
        )
    if kind == "bytes":
        return tokenizer_lib.ByteTokenizer()
    if kind == "sentencepiece" and not path:
        texts = (f"{each.question}\n{each.solution or ''}" for each in train)
        return tokenizer_lib.train_sentencepiece(texts, config.tokenizer.vocab_size)
    if not path and not weights:
        raise errors.ConfigError(
            f"tokenizer.kind={kind} needs tokenizer.path or model.weights; or set "
            "sentencepiece to train one"
        )
    found = tokenizer_lib.load_tokenizer(
        pathlib.Path(path) if path else hf_files.resolve_weights(weights)
    )
    if kind != "auto" and kind not in type(found).__name__.lower():
        raise errors.ConfigError(
            f"tokenizer.kind={kind}, but {path or weights} holds a {type(found).__name__}; set "
            "tokenizer.kind=auto"
        )
    return found


def _base_model(
    config: config_lib.Config,
    tokenizer: Tokenizer,
    mesh: jax.sharding.Mesh,
    jobs: Sequence[str] = _JOBS,
) -> Transformer:
    """The imported base model with a context of `model.context` at most, or a model of random
    weights; `jobs` are to train it.
    """
    dtype = jnp.dtype(config.model.dtype)
    if not config.model.weights:
        arch = scratch_arch(config.model, tokenizer.reserved_id + 1)
        sharding.check(arch, mesh)
        made = Transformer(arch, rngs=nnx.Rngs(keys.key_of(config.seed)), dtype=dtype)
        nnx.update(made, sharding.place_parameters(nnx.state(made, nnx.Param), mesh))
        return made
    folder = hf_files.resolve_weights(config.model.weights)
    model = hf_weights.load_weights(
        folder, tokenizer_size=tokenizer.vocab_size, dtype=dtype, mesh=mesh
    )
    model.arch = base_arch(model.arch, config, folder, jobs)
    return model


def _weight_sums(weights: str) -> dict[str, str]:
    """The sums of a base model's files, by name; none for a model of random weights."""
    return hf_files.sums(hf_files.resolve_weights(weights)) if weights else {}


def _fresh_head(
    config: config_lib.Config, backbone: Transformer, tokenizer: Tokenizer
) -> ReservedLogitHead | LinearHead:
    if config.verify.head == "reserved_logit":
        fresh_row(
            backbone,
            tokenizer.reserved_id,
            jax.random.fold_in(keys.key_of(config.seed), tokenizer.reserved_id),
        )
    return model_folder.make_head(config.verify.head, tokenizer, backbone.arch)


def _lm_examples(
    run: Run, found: Sequence[Problem], tokenizer: Tokenizer, config: config_lib.TrainConfig
) -> list[batches.Example]:
    """Ground truth of the problems that have a worked solution."""
    examples = []
    for each in found:
        if each.solution:
            tokens = batches.encode_problem(each, tokenizer, run.template())
            example = batches.lm_example(
                *tokens,
                loss_on_question=config.loss_on_question,
                loss_on_forced=config.loss_on_forced,
                name=each.problem_id,
            )
            examples.append(example)
    return examples


def _pretrain_examples(
    run: Run, train: Sequence[Problem], tokenizer: Tokenizer
) -> list[batches.Example]:
    config = run.config.pretrain
    if not config.corpus:
        return _lm_examples(run, train, tokenizer, config)
    examples = []
    for text in sources.read_corpus(pathlib.Path(config.corpus)):
        ids = [*tokenizer.encode(text), tokenizer.end_id]
        # a document that is longer than a row is read in pieces
        for first in range(0, len(ids), config.row_tokens):
            piece = ids[first : first + config.row_tokens]
            examples.append(
                batches.lm_example(
                    [], piece, [False] * len(piece), loss_on_question=True, loss_on_forced=True
                )
            )
    return examples


def _value_examples(
    run: Run, split: str, found: Sequence[Problem], tokenizer: Tokenizer, reads_text: bool
) -> Sequence[batches.Example]:
    """Labelled samples of a split, by problem and sample: the order of the table's rows depends on
    where sampling was killed.
    """
    config = run.config.verify
    prompts = {each.problem_id: run.prompt_ids(each, tokenizer) for each in found}
    by_name = [("problem_id", "ascending"), ("sample_id", "ascending")]
    provenance.refuse_stale(run.dir.root, split, ["samples", "labels"])
    rows = run.samples(split, tokenizer, reads_text).sort_by(by_name)
    labels = store.read_table(
        run.dir.table("labels", split), "labels", ["problem_id", "sample_id", "correct"]
    ).sort_by(by_name)
    if not all(rows[name].equals(labels[name]) for name in ("problem_id", "sample_id")):
        raise errors.UserError(
            f"the labels of {split} are not of the samples that are there; remove the table "
            "and label anew"
        )
    places: list[int] = []
    seen: set[tuple[Any, ...]] = set()
    used = dict.fromkeys(prompts, 0)
    for place, key in enumerate(rows["problem_id"].to_pylist()):
        if config.samples_per_problem and used[key] >= config.samples_per_problem:
            continue
        if config.deduplicate:
            text = (key, *rows["tokens"][place].as_py())
            if text in seen:
                continue
            seen.add(text)
        used[key] += 1
        places.append(place)
    correct = labels["correct"].to_numpy()[places]
    alike = caveats.of_labels(split, correct)
    if alike:
        log.say(f"warning: verify: {alike}")
    how = {
        "level": config.level,
        "normalise": config.normalise,
        "loss_on_forced": config.loss_on_forced,
    }
    return batches.LabelledSamples(rows, places, correct, prompts, **how)


def _fit(
    run: Run,
    name: str,
    model: nnx.Module,
    loss: Any,
    examples: Sequence[batches.Example],
    heldout: Sequence[batches.Example],
    checkpoints: pathlib.Path,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """One training job under the section of the configuration that has its name; what became of it,
    for the manifest.
    """
    config: config_lib.TrainConfig = getattr(run.config, name)
    share_of = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    stream = batches.BatchStream(
        examples,
        run.config.seed,
        config.batch_rows,
        config.row_tokens,
        config.epochs,
        config.steps,
        **share_of,
    )
    watched = (
        list(batches.BatchStream(heldout, 0, config.batch_rows, config.row_tokens, **share_of))
        if heldout
        else []
    )
    share = batches.supervision(examples)
    log.say(
        f"{name}: {len(examples):,} examples, {share.tokens:,} tokens, {len(stream)} steps; "
        f"supervised: {share.lm_share:.0%} by the language-model loss, {share.value_share:.0%} "
        "by the value loss"
    )
    place = functools.partial(sharding.place_rows, mesh=_mesh(model, name, config))
    watch = "value" if name == "verify" else "lm"
    due = hosts.Every(f"checkpoint in {checkpoints}", config.checkpoint_minutes)
    job = loop.Job(
        name,
        run.dir.logs,
        checkpoints,
        run.config.seed,
        watched,
        watch,
        facts,
        place,
        hosts.stopping_after,
        due,
    )
    return loop.fit(model, stream, loss, config, job)._asdict()


def _mesh(model: nnx.Module, name: str, config: config_lib.TrainConfig) -> jax.sharding.Mesh:
    """The mesh that a model lies on; raises as `device_checks.check_rows`."""
    mesh = sharding.mesh_of(nnx.state(model, nnx.Param))
    assert mesh is not None  # `finetune` and `verify` have put it there
    device_checks.check_rows(name, config, mesh)
    return mesh
