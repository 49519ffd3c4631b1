"""finetune on labels and rationales: the students of Hsieh et al. 2023."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.data import two_tasks
from verifier.data.examples import Example
from verifier.data.two_tasks import Asked, Explained
from verifier.errors import ConfigError, DataError, ProblemError
from verifier.grading import rationales
from verifier.run.context import Context
from verifier.run.stage import Files, Job, Stage
from verifier.stages import sample
from verifier.stages.finetune import language_model, make_generator
from verifier.stages.fitting import Examples
from verifier.stages.prompting import Prompting, Put
from verifier.system import log
from verifier.tables import store
from verifier.tables.results import GENERATOR
from verifier.text import answer_lines, solution_equation
from verifier.text.problem import Problem, Template, prompt_ids
from verifier.text.split import HELDOUT, TRAIN
from verifier.text.tokenizer import Tokenizer
from verifier.train.losses import two_tasks as two_tasks_loss
from verifier.train.losses.contract import Loss

SINGLE = "single_task"
# A label alone, as the paper's baselines learn it: the gold one, or the teacher's.
STANDARD, STANDARD_DISTILLATION = "standard_finetuning", "standard_distillation"
_LABEL_ALONE = (STANDARD, STANDARD_DISTILLATION)
_ONE_TEXT = (SINGLE, *_LABEL_ALONE)  # behind data.prompt_template
UNLABELLED = "unlabelled"  # the role of problems that have the teacher's labels alone
_THEIR_SAMPLES = "unlabelled_samples"
_KNOBS = (
    *("seed", "data", "tokenizer", "model", "finetune"),
    *(f"step_by_step.{name}" for name in ("label", "labels", "style", "keep_unexplained")),
)


def stage(problems: Stage, samples: Stage | None, method: str, share: float, place: str) -> Stage:
    """One student.

    Args:
        problems: of the run.
        samples: a teacher's solutions, the first of each problem being its rationale; None: worked
            solutions are. Those of unlabelled problems are learned with the labels that they have.
        method: as in `step_by_step.methods`.
        share: of the training problems that it learns from.
        place: where it is kept.
    """
    # The data's own labels alone have nothing to do with a teacher's.
    samples = None if method == STANDARD else samples
    further = [split for split in problems.splits if split.unlabelled and method != STANDARD]
    reads = {UNLABELLED: problems.of(further[0])} if further else {}
    if further and samples:
        reads[_THEIR_SAMPLES] = samples.of(further[0])
    return Stage(
        functools.partial(finetune, method=method, share=share),
        makes=GENERATOR,
        reads={
            "weights": Files("model.weights"),
            "tokenizer": Files("tokenizer.path"),
            "problems": problems.of(TRAIN),
            "heldout_problems": problems.of(HELDOUT),
            **({"samples": samples.of(TRAIN)} if samples else {}),
            **reads,
        },
        # Without such problems, what was made before the knob is the same.
        knobs=(*_KNOBS, *_knobs_of(method), *(["step_by_step.unlabelled"] if further else [])),
        place=place,
        jobs=(Job("finetune", "train", loss=_loss_of(method)),),
        check=check,
    )


def asking(method: str) -> Prompting:
    """How a student of a method is asked for an answer: as for a label in `predict`, or for one
    text.
    """

    def of(context: Context, tokenizer: Tokenizer) -> Put:
        template = _template(_asked(context.config), method)

        def put(problem: Problem) -> list[int]:
            return prompt_ids(problem.question, template, tokenizer)

        return put

    return Prompting(of, (_asking_knob(method),))


def check(config: config_lib.Config) -> None:
    """Raises UserError for templates without a question, solutions that nobody draws, equations
    out of worked solutions where a teacher's texts are learned, unlabelled problems or a
    teacher's labels without one.
    """
    _asked(config)
    own, taught = config.step_by_step, config.distill.teacher or config.distill.log
    if STANDARD_DISTILLATION in own.methods and not taught:
        raise ConfigError(
            f"step_by_step.methods: {STANDARD_DISTILLATION} learns a teacher's labels, and nobody "
            "teaches: name a teacher (distill.teacher) or a log of what it wrote (distill.log), or "
            "leave it out"
        )
    if own.unlabelled and not taught:
        raise ConfigError(
            f"step_by_step.unlabelled={own.unlabelled}, but nobody labels these problems: name a "
            "teacher (distill.teacher) or a log of what it wrote (distill.log), or leave "
            "step_by_step.unlabelled empty"
        )
    if own.unlabelled_dir and not own.unlabelled:
        raise ConfigError(
            f"step_by_step.unlabelled_dir={own.unlabelled_dir}, but no set is named that lies "
            "there: set step_by_step.unlabelled (to asdiv, for one), or leave both empty"
        )
    if own.label == "equation" and taught:
        raise ConfigError(
            "step_by_step.label=equation puts equations together out of the problems' own worked "
            "solutions, and a teacher's are learned here: set step_by_step.label=answer, with "
            "data.name=svamp_equations for problems whose answers are equations"
        )
    sample.refuse_no_greedy(config)


def finetune(context: Context, method: str, share: float) -> None:
    """Trains a student on the first so many training problems."""
    config = context.config.step_by_step
    train = context.problems("problems")
    part = train[: max(round(share * len(train)), 1)]
    heldout = context.problems("heldout_problems")
    if "samples" in context.stage.reads:
        learned = _told(context, part, "teacher" if method in _LABEL_ALONE else config.labels)
        watched = [_labelled(each) for each in heldout]
    else:
        learned, watched = (_explained(each, config.label) for each in (part, heldout))
    unexplained = sum(each.rationale is None for each in learned)
    if unlabelled := len(part) - len(learned):
        log.say(
            f"{context.title()}: {unlabelled:,} of {len(part):,} problems are left out: no label "
            f"of theirs can be read, {config.label}s being labels"
        )
    keeps = config.keep_unexplained or method in _LABEL_ALONE
    if unexplained and not keeps:
        learned = [each for each in learned if each.rationale is not None]
    log.say(
        f"{context.title()}: {len(learned):,} of {len(part):,} problems; {unexplained:,} have no "
        f"rationale{', of which the label is learned' if keeps else ''}"
    )
    facts = dict[str, Any]()
    if UNLABELLED in context.stage.reads:
        further, counts = _unlabelled(context)
        facts = {"labelled": len(learned), UNLABELLED: counts}
        learned = [*learned, *further]
    if not learned:
        raise DataError(
            f"none of {len(part):,} training problems has a rationale to learn: a worked solution, "
            f"or a teacher's text that step_by_step.style={config.style} takes apart; name a "
            "teacher (distill.teacher) or the style of its exemplars, or set "
            "step_by_step.keep_unexplained=true to learn labels alone"
        )
    make = _examples_of(method)
    asked = _asked(context.config)

    def examples(job: Job, tokenizer: Tokenizer) -> Examples:
        train, heldout = (list(make(each, asked, tokenizer)) for each in (learned, watched))
        return Examples(train, heldout)

    make_generator(context, train, examples, learned=facts, template=_template(asked, method))


def _explained(problems: Sequence[Problem], kind: str) -> list[Explained]:
    """Worked solutions as rationale and label; a problem without one has a label alone, and one
    without a label is left out.
    """
    explained = []
    for each in problems:
        text = _before_answer(each.solution or "")
        label = each.answer if kind == "answer" else solution_equation.composed(text, each.answer)
        if label is not None:
            explained.append(Explained(each, label, text or None))
    return explained


def _before_answer(solution: str) -> str:
    """What a solution says before its answer, as GSM8K or `rationales.told` ends it."""
    for mark in (answer_lines.MARK, answer_lines.CONCLUDES):
        text, found, _ = solution.rpartition(mark)
        if found:
            return text.rstrip()
    return ""


def _told(context: Context, problems: Sequence[Problem], labels: str) -> list[Explained]:
    """A teacher's rationales, and its labels where these are asked for, as in
    `step_by_step.labels`.
    """
    parsed, _ = _parsed(context, problems, "samples")
    explained = []
    for problem, one in zip(problems, parsed, strict=True):
        if isinstance(one, rationales.Rationale):
            label = one.label if labels == "teacher" else problem.answer
            explained.append(Explained(problem, label, one.text))
        elif labels == "gold":
            explained.append(Explained(problem, problem.answer, None))
    return explained


def _unlabelled(context: Context) -> tuple[list[Explained], dict[str, Any]]:
    """A teacher's rationales and labels of unlabelled problems, and how many there are: "problems",
    those "learned", and by reason those "not_read".
    """
    problems = context.problems(UNLABELLED)
    parsed, reasons = _parsed(context, problems, _THEIR_SAMPLES)
    explained = [
        Explained(problem, one.label, one.text)
        for problem, one in zip(problems, parsed, strict=True)
        if isinstance(one, rationales.Rationale)
    ]
    log.say(
        f"{context.title()}: beside them {len(explained):,} of {len(problems):,} unlabelled "
        "problems, with the teacher's labels"
    )
    counts = {"problems": len(problems), "learned": len(explained), "not_read": reasons}
    return explained, counts


def _parsed(
    context: Context, problems: Sequence[Problem], role: str
) -> tuple[list[rationales.Rationale | rationales.Unparsed], dict[str, int]]:
    """A teacher's text of each problem taken apart, and how many cannot be, by reason, which is
    said.
    """
    columns = ["problem_id", "sample_id", "solution"]
    rows = store.read_table(context.source(role), "samples", columns).to_pylist()
    # The first of each problem, whatever a log calls it: what stands later in the dict stays.
    rows.sort(key=lambda row: -row["sample_id"])
    texts = {row["problem_id"]: row["solution"] for row in rows}
    # The teacher was not asked where its prompt was too long: no text, which cannot be taken apart.
    told = [texts.get(each.problem_id, "") for each in problems]
    parsed, reasons = rationales.parse_all(told, context.config.step_by_step.style)
    whose = " of unlabelled problems" if role == _THEIR_SAMPLES else ""
    for reason, count in reasons.items():
        log.say(
            f"{context.title()}: {count:,} of the teacher's texts{whose} are not used: {reason}"
        )
    return parsed, reasons


def _labelled(problem: Problem) -> Explained:
    """A problem of which no teacher has said anything."""
    return Explained(problem, problem.answer, None)


def _asked(config: config_lib.Config) -> Asked:
    own = config.step_by_step
    asked = {
        "step_by_step.predict": own.predict,
        "step_by_step.explain": own.explain,
        "data.prompt_template": config.data.prompt_template,
    }
    templates = []
    for knob, text in asked.items():
        try:
            templates.append(Template(text))
        except ProblemError as error:
            raise ProblemError(f"{knob}: {error}") from error
    return Asked(*templates)


def _knobs_of(method: str) -> tuple[str, ...]:
    """What a student of a method depends on, beside what all do."""
    explains = () if method in _ONE_TEXT else ("step_by_step.explain",)
    weighs = ("step_by_step.alpha",) if method == "multi_task" else ()
    return _asking_knob(method), *explains, *weighs


def _template(asked: Asked, method: str) -> Template:
    """How a student is asked for an answer."""
    return asked.both if method in _ONE_TEXT else asked.predict


def _asking_knob(method: str) -> str:
    return "data.prompt_template" if method in _ONE_TEXT else "step_by_step.predict"


def _examples_of(method: str) -> Callable[..., Iterator[Example]]:
    if method in _LABEL_ALONE:
        return two_tasks.label_alone
    return two_tasks.one_text if method == SINGLE else two_tasks.two_tasks


def _loss_of(method: str) -> Callable[[config_lib.Config, int], Loss]:
    if method in _ONE_TEXT:
        return language_model
    return _label_only if method == "label_only" else _multi_task


def _multi_task(config: config_lib.Config, vocab_size: int) -> Loss:
    return two_tasks_loss.loss(vocab_size, config.step_by_step.alpha)


def _label_only(config: config_lib.Config, vocab_size: int) -> Loss:
    """The same batches, of which the labels alone are learned."""
    return two_tasks_loss.loss(vocab_size, alpha=1.0)
