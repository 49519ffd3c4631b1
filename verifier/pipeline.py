"""The stages of a run, one function each: finetune, sample, label, verify, score, report. Each reads and writes tables and model folders only."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from verifier import config as config_lib
from verifier import log, saved, workdir
from verifier.data import batches, problems, store
from verifier.decode.engine import Engine, Prompt
from verifier.evaluate import report as report_lib
from verifier.evaluate.score import Solutions, score_samples
from verifier.model import hf_weights
from verifier.model.heads import LinearHead, ReservedLogitHead, Verifier, fresh_row
from verifier.model.transformer import Transformer, scratch_arch
from verifier.text import answer, tokenizer as tokenizer_lib
from verifier.text.problem import Problem, Template
from verifier.text.tokenizer import Tokenizer
from verifier.train import losses, loop

PART_ROWS = 4096  # rows of a table that wait to be written as one part: what a kill can cost


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage is given."""

    config: config_lib.Config
    dir: workdir.Workdir

    def problems(self) -> dict[str, list[Problem]]:
        """The run's problems, from its tables; written there first where they are not yet."""
        own = workdir.settings(self.config, "seed", "data")
        folders = {split: self.dir.table("problems", split) for split in workdir.SPLITS}
        if not all(workdir.is_done(folder, own) for folder in folders.values()):
            loaded = problems.load_problems(self.config.data, self.config.seed)
            for split, folder in folders.items():
                if not workdir.is_done(folder, own):
                    writer = store.TableWriter(folder, "problems", own)
                    writer.append(problems.problems_table([each for each in loaded[split] if each.problem_id not in writer.present()]))
                    writer.finish({})
        return {split: problems.problems_from_table(store.read_table(folder, "problems")) for split, folder in folders.items()}

    def template(self) -> Template:
        return Template(self.config.data.prompt_template, self.config.data.target_template)

    def prompt_ids(self, problem: Problem, tokenizer: Tokenizer) -> list[int]:
        return [*tokenizer.start_ids, *tokenizer.encode(self.template().render_prompt(problem.question))]


def finetune(run: Run) -> None:
    """Fits the generator to ground-truth solutions, after further pre-training where that is asked for."""
    config, folder = run.config, run.dir.generator
    own = workdir.settings(config, "seed", "data", "tokenizer", "model", "pretrain", "finetune")
    if _finished("finetune", folder, own):
        return
    begun = time.monotonic()
    found = run.problems()
    tokenizer = _tokenizer(config, found["train"])
    model = _base_model(config, tokenizer)
    facts = {"settings": own, "parameters": sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))}
    log.say(f"finetune: {facts['parameters']:,} parameters, {tokenizer.vocab_size:,} tokens in the vocabulary")
    loss = functools.partial(losses.lm, vocab_size=tokenizer.vocab_size)
    for name in ("pretrain", "finetune"):
        job_config: config_lib.TrainConfig = getattr(config, name)
        if not job_config.epochs:
            continue
        examples = _pretrain_examples(run, found["train"], tokenizer) if name == "pretrain" else _lm_examples(run, found["train"], tokenizer, job_config)
        heldout = _lm_examples(run, found["heldout"], tokenizer, job_config)
        facts[name] = _fit(run, name, model, loss, examples, heldout, folder / f"{name}-checkpoints")
    name = saved.save(folder, model, tokenizer, facts | {"seconds": time.monotonic() - begun})
    log.say(f"finetune: generator {name} saved in {folder}")


def sample(run: Run) -> None:
    """Draws solutions of every split's problems, and one greedy solution of every test problem."""
    generator = saved.load(run.dir.generator, "finetune", run.config.model.dtype)
    found = run.problems()
    config = run.config.sample
    train = found["train"][: config.train_problems or None]
    _sample_split(run, generator, "train", train, config, config.train_samples)
    _sample_split(run, generator, "heldout", found["heldout"], config, config.heldout_samples)
    _sample_split(run, generator, "test", found["test"], config, config.test_samples)
    if config.greedy:
        _sample_split(run, generator, workdir.GREEDY, found["test"], dataclasses.replace(config, temperature=0.0), 1)


def label(run: Run) -> None:
    """Judges every stored solution by its final answer."""
    gold = {each.problem_id: each.answer for part in run.problems().values() for each in part}
    for split in _sampled_splits(run):
        source = workdir.manifest_of(run.dir.table("samples", split), "sample")
        folder = run.dir.table("labels", split)
        own = workdir.settings(run.config, "label") | {"samples": workdir.table_id(source)}
        if _finished(f"label {split}", folder, own):
            continue
        begun = time.monotonic()
        rows = store.read_table(run.dir.table("samples", split), "samples", ["problem_id", "sample_id", "solution"])
        grader = run.config.label.grader
        graded = [answer.grade(text, gold[key], grader) for key, text in zip(rows["problem_id"].to_pylist(), rows["solution"].to_pylist(), strict=True)]
        writer = store.TableWriter(folder, "labels", own)
        columns = {"answer": [each.answer for each in graded], "correct": [each.correct for each in graded], "grader": [grader] * len(graded)}
        writer.append(store.with_columns(rows.select(["problem_id", "sample_id"]), "labels", columns))
        writer.finish({"seconds": time.monotonic() - begun})
        right = sum(each.correct for each in graded)
        log.say(f"label {split}: {right:,} of {len(graded):,} solutions are right ({right / max(len(graded), 1):.1%})")


def verify(run: Run) -> None:
    """Fits the verifier to labelled samples and ground truth, from the generator's weights."""
    config, folder = run.config, run.dir.verifier
    generator = saved.load(run.dir.generator, "finetune", config.model.dtype)
    ids = {split: workdir.table_id(workdir.manifest_of(run.dir.table("labels", split), "label")) for split in ("train", "heldout")}
    own = workdir.settings(config, "seed", "verify") | {"generator": generator.id, "labels": ids["train"], "heldout_labels": ids["heldout"]}
    if _finished("verify", folder, own):
        return
    begun = time.monotonic()
    tokenizer, found = generator.tokenizer, run.problems()
    examples = _value_examples(run, "train", found["train"], tokenizer)
    heldout = _value_examples(run, "heldout", found["heldout"], tokenizer)
    if config.verify.lm_weight:
        truth = _lm_examples(run, found["train"], tokenizer, config.verify)
        examples = batches.mix(examples, truth, config.seed)
        heldout = heldout + _lm_examples(run, found["heldout"], tokenizer, config.verify)
    backbone = generator.model if config.verify.init == "generator" else _base_model(config, tokenizer)
    model = Verifier(backbone, _fresh_head(config, backbone, tokenizer))
    loss = functools.partial(
        losses.verifier_joint, vocab_size=tokenizer.vocab_size, value_loss=config.verify.value_loss, lm_weight=config.verify.lm_weight
    )
    fitted = _fit(run, "verify", model, loss, examples, heldout, folder / "verify-checkpoints", facts=own)
    facts = {"settings": own, "generator": generator.id, "verify": fitted, "seconds": time.monotonic() - begun}
    log.say(f"verify: verifier {saved.save(folder, model, tokenizer, facts)} saved in {folder}")


def score(run: Run) -> None:
    """Lets the verifier read the stored samples of held-out and test problems."""
    verifier = saved.load(run.dir.verifier, "verify", run.config.model.dtype)
    found = run.problems()
    squash = verifier.manifest["settings"]["verify.value_loss"] == "bce"
    for split in ("heldout", "test"):
        source = workdir.manifest_of(run.dir.table("samples", split), "sample")
        own = {"verifier": verifier.id, "samples": workdir.table_id(source)}
        folder = run.dir.table("scores", split)
        if _finished(f"score {split}", folder, own):
            continue
        begun = time.monotonic()
        writer = store.TableWriter(folder, "scores", own)
        prompts = {each.problem_id: run.prompt_ids(each, verifier.tokenizer) for each in found[split]}
        waiting = [each for each in _solutions(run, split, prompts) if each.problem_id not in writer.present()]
        progress = log.Progress(sum(len(each.tokens) for each in waiting), "solution", f"score {split}")
        with progress:
            scored = score_samples(verifier.model, waiting, run.config.score, verifier.id, squash)
            _write(writer, _counted(scored, progress))
        writer.finish({"seconds": time.monotonic() - begun})


def report(run: Run) -> None:
    """Turns the tables into metrics.json and the page."""
    report_lib.write_report(run.dir.root, run.dir.report, run.config.report, run.config.seed)


STAGES: dict[str, Callable[[Run], None]] = {
    "finetune": finetune,
    "sample": sample,
    "label": label,
    "verify": verify,
    "score": score,
    "report": report,
}


def check_stages(names: Sequence[str] | None) -> list[str]:
    """The stages to run, in the pipeline's order; None: all.

    Raises:
        ConfigError: a name that is no stage.
    """
    for name in names or ():
        if name not in STAGES:
            near = difflib.get_close_matches(name, STAGES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise config_lib.ConfigError(f"--stages: there is no stage {name!r}{hint} The stages are {', '.join(STAGES)}")
    return [name for name in STAGES if names is None or name in names]


def run(config: config_lib.Config, root: pathlib.Path, stages: Sequence[str]) -> None:
    """Runs stages one after the other and prints the results.

    Args:
        config: checked (`config.check`).
        root: the workdir; made where it is missing, gone on with where it holds results of the same settings.
        stages: names from STAGES, in order.

    Raises:
        UserError: of any room, with a message that says what to do.
    """
    this = Run(config, workdir.Workdir(root))
    workdir.save_config(this.dir, config)
    for name in stages:
        log.say(f"== {name}")
        STAGES[name](this)
    metrics = this.dir.report / "metrics.json"
    if metrics.exists():
        print(report_lib.results_table(json.loads(metrics.read_text())))
        print(f"\npage     {this.dir.report / 'index.html'}\nmetrics  {metrics}")


def _finished(what: str, folder: pathlib.Path, own: dict[str, Any]) -> bool:
    done = workdir.is_done(folder, own)
    if done:
        log.say(f"{what}: already done with these settings, skipped ({folder})")
    return done


def _tokenizer(config: config_lib.Config, train: Sequence[Problem]) -> Tokenizer:
    """The tokenizer that the settings name; a SentencePiece model without a path is trained on the training problems."""
    kind, path = config.tokenizer.kind, config.tokenizer.path
    if kind == "bytes":
        return tokenizer_lib.ByteTokenizer()
    if kind == "sentencepiece" and not path:
        texts = (f"{each.question}\n{each.solution or ''}" for each in train)
        return tokenizer_lib.train_sentencepiece(texts, config.tokenizer.vocab_size)
    if path:
        return tokenizer_lib.load_tokenizer(pathlib.Path(path))
    if not config.model.weights:
        raise config_lib.ConfigError(f"tokenizer.kind={kind!r} needs tokenizer.path or model.weights; or set tokenizer.kind=sentencepiece to train one")
    return tokenizer_lib.load_tokenizer(hf_weights.resolve_weights(config.model.weights))


def _base_model(config: config_lib.Config, tokenizer: Tokenizer) -> Transformer:
    """The imported base model, or one of random weights."""
    dtype = jnp.dtype(config.model.dtype)
    if config.model.weights:
        folder = hf_weights.resolve_weights(config.model.weights)
        return hf_weights.load_weights(folder, tokenizer_size=tokenizer.vocab_size, dtype=dtype)
    return Transformer(scratch_arch(config.model, tokenizer.reserved_id + 1), rngs=nnx.Rngs(config.seed), dtype=dtype)


def _fresh_head(config: config_lib.Config, backbone: Transformer, tokenizer: Tokenizer) -> ReservedLogitHead | LinearHead:
    if config.verify.head == "reserved_logit":
        fresh_row(backbone, tokenizer.reserved_id, jax.random.fold_in(jax.random.key(config.seed), tokenizer.reserved_id))
    return saved.make_head(config.verify.head, tokenizer, backbone.arch)


def _lm_examples(run: Run, found: Sequence[Problem], tokenizer: Tokenizer, config: config_lib.TrainConfig) -> list[batches.Example]:
    """Ground truth of the problems that have a worked solution."""
    masks = {"loss_on_question": config.loss_on_question, "loss_on_forced": config.loss_on_forced}
    return [
        batches.lm_example(*batches.encode_problem(each, tokenizer, run.template()), name=each.problem_id, **masks) for each in found if each.solution
    ]


def _pretrain_examples(run: Run, train: Sequence[Problem], tokenizer: Tokenizer) -> list[batches.Example]:
    config = run.config.pretrain
    if not config.corpus:
        return _lm_examples(run, train, tokenizer, config)
    return [
        batches.lm_example([], [*tokenizer.encode(text), tokenizer.end_id], [False] * (len(tokenizer.encode(text)) + 1), loss_on_question=True, loss_on_forced=True)
        for text in problems.read_corpus(pathlib.Path(config.corpus))
    ]


def _value_examples(run: Run, split: str, found: Sequence[Problem], tokenizer: Tokenizer) -> list[batches.Example]:
    """Labelled samples of a split."""
    config = run.config.verify
    prompts = {each.problem_id: run.prompt_ids(each, tokenizer) for each in found}
    rows = store.read_table(run.dir.table("samples", split), "samples", ["problem_id", "sample_id", "tokens", "forced"])
    labels = store.read_table(run.dir.table("labels", split), "labels", ["problem_id", "sample_id", "correct"])
    correct = dict(zip(zip(labels["problem_id"].to_pylist(), labels["sample_id"].to_pylist(), strict=True), labels["correct"].to_pylist(), strict=True))
    examples, seen, used = [], set(), dict.fromkeys(prompts, 0)
    for row in rows.to_pylist():
        key = row["problem_id"]
        text = (key, *row["tokens"])
        if (config.deduplicate and text in seen) or (config.samples_per_problem and used[key] >= config.samples_per_problem):
            continue
        if config.deduplicate:
            seen.add(text)
        used[key] += 1
        masks = {"level": config.level, "normalise": config.normalise, "loss_on_forced": config.loss_on_forced}
        right = correct[key, row["sample_id"]]
        examples.append(batches.verifier_example(prompts[key], row["tokens"], row["forced"], right, name=f"{key}/{row['sample_id']}", **masks))
    return examples


def _fit(
    run: Run,
    name: str,
    model: nnx.Module,
    loss: Any,
    examples: list[batches.Example],
    heldout: list[batches.Example],
    checkpoints: pathlib.Path,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One training job under the section of the configuration that has its name; what became of it, for the manifest."""
    config: config_lib.TrainConfig = getattr(run.config, name)
    hosts = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    stream = batches.BatchStream(examples, run.config.seed, config.batch_rows, config.row_tokens, config.epochs, **hosts)
    watched = list(batches.BatchStream(heldout, 0, config.batch_rows, config.row_tokens, 1.0, **hosts)) if heldout else []
    share = batches.supervision(examples)
    log.say(
        f"{name}: {len(examples):,} examples, {share.tokens:,} tokens, {len(stream)} steps; "
        f"supervised: {share.lm_share:.0%} by the language-model loss, {share.value_share:.0%} by the value loss"
    )
    job = loop.Job(name, run.dir.logs, checkpoints, run.config.seed, watched, "value" if name == "verify" else "lm", facts or {})
    return loop.fit(model, stream, loss, config, job)._asdict()


def _sample_split(run: Run, generator: saved.Saved, split: str, found: Sequence[Problem], config: config_lib.SampleConfig, samples: int) -> None:
    """Draws what is missing of one split's samples."""
    folder = run.dir.table("samples", split)
    own = workdir.settings(run.config, "seed", "sample", split=split) | {"generator": generator.id}
    if not found or _finished(f"sample {split}", folder, own):
        return
    begun = time.monotonic()
    writer = store.TableWriter(folder, "samples", own)
    progress = log.Progress(len(found) * samples, "solution", f"sample {split}", done=len(writer.present()) * samples)
    engine = Engine(generator.model, generator.tokenizer, config, run.config.seed)
    prompts = [Prompt(each.problem_id, run.prompt_ids(each, generator.tokenizer)) for each in found]
    fitting, too_long = engine.split(prompts)
    for prompt in too_long:
        log.say(f"sample {split}: problem {prompt.problem_id} is left out: its prompt has {len(prompt.tokens)} tokens, room is for {engine.room}")
    waiting = [prompt for prompt in fitting if prompt.problem_id not in writer.present()]
    with progress:
        drawn = engine.run(waiting, samples) if waiting else iter(())
        rows = ([_sample_row(each, generator.id, run.config.seed) for each in completions] for completions in drawn)
        _write(writer, _counted(rows, progress))
    writer.finish({"seconds": time.monotonic() - begun, "left_out": [prompt.problem_id for prompt in too_long]})


def _sample_row(completion: Any, generator: str, seed: int) -> dict[str, Any]:
    row = dataclasses.asdict(completion)
    return {**row, "solution": row.pop("text"), "generator": generator, "seed": seed}


def _counted(groups: Iterable[list[dict[str, Any]]], progress: log.Progress) -> Iterator[list[dict[str, Any]]]:
    for rows in groups:
        progress.advance(len(rows))
        yield rows


def _write(writer: store.TableWriter, groups: Iterable[list[dict[str, Any]]]) -> None:
    """Appends whole problems, many to a part."""
    waiting: list[dict[str, Any]] = []
    for rows in groups:
        waiting += rows
        if len(waiting) >= PART_ROWS:
            writer.append(waiting)
            waiting = []
    writer.append(waiting)


def _solutions(run: Run, split: str, prompts: dict[str, list[int]]) -> list[Solutions]:
    """The stored samples of a split, problem by problem."""
    rows = store.read_table(run.dir.table("samples", split), "samples", ["problem_id", "sample_id", "tokens"]).to_pylist()
    grouped: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["problem_id"], []).append(row)
    return [Solutions(key, prompts[key], [row["sample_id"] for row in group], [row["tokens"] for row in group]) for key, group in grouped.items()]


def _sampled_splits(run: Run) -> list[str]:
    splits = [split for split in (*workdir.SPLITS, workdir.GREEDY) if store.read_manifest(run.dir.table("samples", split))]
    if not splits:
        workdir.manifest_of(run.dir.table("samples", "test"), "sample")
    return splits
