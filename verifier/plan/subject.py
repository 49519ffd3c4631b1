"""What is known of an experiment before it runs: its decoder, its vocabulary, how much text.

Reads no weights and no network.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from verifier.config import Config, flatten
from verifier.errors import ConfigError, TokenizerError
from verifier.hf import files as hf_files
from verifier.hf import weights as hf_weights
from verifier.model.arch import Arch, scratch_arch
from verifier.plan.published import GSM8K, MODELS, Text
from verifier.run.stage import Job
from verifier.stages.base_model import base_arch
from verifier.system import paths
from verifier.tasks import sources
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.problem import Problem, Template
from verifier.text.tokenizer import Tokenizer, load_tokenizer

LETTERS_A_TOKEN = 3.0  # of word problems, where there is no tokenizer to count with


class Subject(NamedTuple):
    """What is planned for."""

    config: Config
    arch: Arch  # as training has it: rows for the reserved id, context of the run
    vocab_size: int  # ids that may be written
    # train, heldout, test; corpus where further pre-training has one; nothing where all jobs read
    # windows
    texts: dict[str, Text]
    notes: tuple[str, ...]  # what was assumed


def read(config: Config, jobs: Sequence[Job]) -> Subject:
    """Finds out what the settings stand for.

    Sizes come from the model section, from the config.json in the folder that `model.weights`
    names, or from the table of published ones; how much text there is from the problems, where a
    job reads any, or for GSM8K, where no folder is named, from its published numbers.

    Raises:
        ConfigError: sizes that nobody knows, or rows longer than the context.
        UserError: a damaged config.json or data set.
    """
    notes: list[str] = []
    tokenizer = _tokenizer(config, notes)
    if not config.model.weights:
        vocab_size = tokenizer.vocab_size if tokenizer else config.tokenizer.vocab_size
        arch = scratch_arch(config.model, vocab_size + 1)
    else:
        described = _described(config.model.weights, notes)
        stored = hf_weights.arch_from_hf(described)
        if stored.encoder_layers:
            raise ConfigError(
                f"model.weights={config.model.weights!r} has an encoder (T5), for which no plan is "
                "made: its memory is not known here"
            )
        vocab_size = tokenizer.vocab_size if tokenizer else stored.vocab_size
        rows = hf_weights.rows_needed(
            stored.vocab_size, vocab_size, str(described["model_type"]), config.model.weights
        )
        arch = base_arch(
            dataclasses.replace(stored, vocab_size=rows),
            config,
            config.model.weights,
            [job for job in jobs if job.weights == "model.weights" and job.kind == "train"],
        )
    for job in jobs:
        if job.weights != "model.weights":
            notes.append(
                "the verifier is planned with the generator's sizes, not those of "
                f"{flatten(config)[job.weights]}"
            )
    if config.verify.deduplicate:
        notes.append(
            "samples that are alike are counted, though verify.deduplicate leaves them out"
        )
    texts = {} if all(job.windows for job in jobs) else _texts(config, tokenizer, notes)
    return Subject(config, arch, vocab_size, texts, tuple(notes))


def _described(weights: str, notes: list[str]) -> dict[str, object]:
    """The config.json of a model, from its folder or from the table."""
    folder = paths.local(weights)
    if (folder / "config.json").is_file():
        return hf_files.read_json(folder / "config.json")
    if weights not in MODELS:
        raise ConfigError(
            f"model.weights={weights!r}: no folder with a config.json, and none of the models "
            f"whose sizes are known here ({', '.join(MODELS)}); put its config.json into a "
            "folder and name that (the weights themselves are not needed)"
        )
    notes.append(f"the sizes of {weights} are the published ones")
    return MODELS[weights]


def _tokenizer(config: Config, notes: list[str]) -> Tokenizer | None:
    """The run's tokenizer where it lies already."""
    if config.tokenizer.kind == "bytes":
        return ByteTokenizer()
    path = config.tokenizer.path or config.model.weights
    try:
        if path:
            return load_tokenizer(path)
    except TokenizerError:
        pass  # a plan needs none
    notes.append(f"no tokenizer to count with: {LETTERS_A_TOKEN:.0f} letters are taken for a token")
    return None


def _texts(config: Config, tokenizer: Tokenizer | None, notes: list[str]) -> dict[str, Text]:
    """How much there is to read and to write."""
    data = config.data
    if config.ood.sets:
        notes.append(f"problems of {', '.join(config.ood.sets)} (ood.sets) are not counted")
    if unlabelled := config.step_by_step.unlabelled:
        notes.append(f"problems of {unlabelled} (step_by_step.unlabelled) are not counted")
    texts: dict[str, Text] = {}
    if config.pretrain.has_work and config.pretrain.corpus:
        texts["corpus"] = _corpus(config.pretrain.corpus, tokenizer)
    named = data.dir or data.test_name or os.environ.get("GSM8K_DIR")
    if data.name != "gsm8k" or (data.source == "local" and named):
        problems = sources.load_problems(data, config.seed)
        template = Template(data.prompt_template, data.target_template)
        return texts | {
            split: _counted(each, template, tokenizer) for split, each in problems.items()
        }
    notes.append(
        "no folder of GSM8K is named: its published numbers of problems, and lengths in tokens "
        "of one a digit"
    )
    left = GSM8K["train"].problems - data.heldout_problems
    counts = {
        "train": data.train_problems or left,
        "heldout": data.heldout_problems,
        "test": data.test_problems or GSM8K["test"].problems,
    }
    return texts | {
        split: GSM8K["test" if split == "test" else "train"]._replace(problems=count)
        for split, count in counts.items()
    }


def _corpus(path: str, tokenizer: Tokenizer | None) -> Text:
    """What further pre-training reads, as one text."""
    tokens = sum(_tokens(text, tokenizer) for text in sources.read_corpus(pathlib.Path(path)))
    return Text(1, 0.0, 0, tokens)


def _counted(problems: Sequence[Problem], template: Template, tokenizer: Tokenizer | None) -> Text:
    start = len(tokenizer.start_ids) if tokenizer else 1
    prompts = [
        start + _tokens(template.render_prompt(each.question), tokenizer) for each in problems
    ]
    solutions = [
        _tokens(template.render_target(each.solution), tokenizer) + 1
        for each in problems
        if each.solution
    ]
    mean_solution = sum(solutions) / len(solutions) if solutions else GSM8K["train"].solution
    return Text(
        len(problems),
        sum(prompts) / max(len(prompts), 1),
        round(max(prompts, default=1)),
        mean_solution,
    )


def _tokens(text: str, tokenizer: Tokenizer | None) -> float:
    return len(tokenizer.encode(text)) if tokenizer else len(text) / LETTERS_A_TOKEN
