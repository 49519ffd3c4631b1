"""How much text a job reads or writes."""

from __future__ import annotations

import math

from verifier.config import DpoConfig, PretrainConfig, SampleConfig, VerifyConfig
from verifier.errors import ConfigError
from verifier.plan import costs
from verifier.plan.published import Text
from verifier.plan.subject import Subject
from verifier.run.stage import Job
from verifier.text.split import OWN, TRAIN


def trained_tokens(subject: Subject, job: Job) -> float:
    """Tokens of all examples of a job, solutions behind their prompts.

    Raises:
        ConfigError: nobody knows how many there are.
    """
    section = job.section(subject.config)
    if section.steps:
        return float(section.steps * section.batch_rows * section.row_tokens * costs.PACKED)
    if job.windows:
        raise ConfigError(
            f"{job.name}.steps=0: a plan does not read quiet.corpus, and so does not know how many "
            f"steps its windows are; set {job.name}.steps"
        )
    reads_corpus = isinstance(section, PretrainConfig) and "corpus" in subject.texts
    text = subject.texts["corpus" if reads_corpus else "train"]
    share = 1.0 if reads_corpus else job.train_share
    if isinstance(section, VerifyConfig):
        return section.epochs * labelled_tokens(text, section, subject.config.sample)
    if isinstance(section, DpoConfig):
        sample = subject.config.sample
        drawn = sample.train_samples * (subject.config.star.loops + 1)
        possible = (drawn // 2) * (drawn - drawn // 2)  # where half of them are right
        pairs = min(section.pairs or possible, possible)
        problems = min(sample.train_problems or text.problems, text.problems)
        return section.epochs * problems * pairs * (text.prompt + 2 * text.solution)
    return float(section.epochs * share * text.problems * (text.prompt + text.solution))


def labelled_tokens(text: Text, verify: VerifyConfig, sample: SampleConfig) -> float:
    """Tokens of samples, in equal mix with ground truth where its loss counts, of an epoch.

    Of a tree the prompt is taken to be read once, and nothing else: what solutions have in common
    nobody knows before.

    Args:
        text: of the training problems.
        verify: how many samples of a problem are read, and how many together.
        sample: how many there are, of how many problems.
    """
    samples = min(sample.train_samples, verify.samples_per_problem or sample.train_samples)
    sampled = min(sample.train_problems or text.problems, text.problems)
    sampled = min(verify.problems or sampled, sampled)
    alone, truth = text.prompt + text.solution, bool(verify.lm_weight)
    if verify.group == 1:
        return sampled * samples * alone * (1 + truth)
    group = min(verify.group or samples, samples)
    written = text.solution * (group + truth)
    trees = max(written / max(verify.row_tokens - text.prompt, 1), 1)
    together = sampled * samples / group * (text.prompt * trees + written)
    readings = samples * sampled / max(text.problems, 1)
    times = math.ceil(readings / verify.group) if verify.group else 1
    return together + truth * (text.problems - sampled) * times * alone


def asked(subject: Subject, job: Job) -> dict[str, tuple[Text, int]]:
    """The texts of every split that a job samples, and how many solutions a problem."""
    config = subject.config.sample
    splits = {
        str(split): (subject.texts[str(split)], getattr(config, f"{split}_samples"))
        for split in OWN
        if (job.others if split != TRAIN else job.train_share)
    }
    if str(TRAIN) in splits:
        train, samples = splits[str(TRAIN)]
        every = min(config.train_problems or train.problems, train.problems)
        splits[str(TRAIN)] = train._replace(problems=round(every * job.train_share)), samples
    return splits


def written_tokens(subject: Subject, job: Job) -> float:
    """Tokens of all solutions that a job draws."""
    splits = asked(subject, job)
    wanted = sum(text.problems * samples * text.solution for text, samples in splits.values())
    if job.others:
        test, _ = splits["test"]
        wanted += test.problems * test.solution * subject.config.sample.greedy
    return wanted
