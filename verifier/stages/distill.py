"""finetune on a teacher's solutions: the student of Fu et al. 2023, in several formats at once."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence
from typing import Any

from verifier import config as config_lib
from verifier.data import alignment_report, formats, teacher_targets
from verifier.data.alignment import Aligned, Aligner
from verifier.data.examples import Example, LazyExamples, encode_solution, lm_example
from verifier.data.formats import Planned
from verifier.data.vocabularies import vocabulary
from verifier.errors import AlignmentError, ConfigError
from verifier.run.context import Context
from verifier.run.stage import Files, Job, Stage
from verifier.stages import prompting, right_solutions
from verifier.stages.finetune import make_generator
from verifier.stages.fitting import Examples
from verifier.stages.prompting import Questions
from verifier.stages.right_solutions import RightSolution, RightSolutions
from verifier.system import log
from verifier.tables.results import GENERATOR
from verifier.text import few_shot
from verifier.text.problem import Template
from verifier.text.split import HELDOUT, TRAIN
from verifier.text.tokenizer import Tokenizer
from verifier.train.losses import distill as losses
from verifier.train.losses.contract import Loss

_LOOKED_AT = 2_000  # solutions that the report on an alignment is of
_SOLUTION = "{solution}"  # the target that is nothing else
_NAMED = 3  # solutions that are named where they cannot be aligned
_KNOBS = (
    *("seed", "tokenizer", "model", "finetune", "select.checkpoints", "sample.top_logprobs"),
    *("distill.prompts", "distill.targets", "distill.between"),
    *("distill.shots", "distill.mix", "distill.annotations", "distill.samples_per_problem"),
    *("distill.align", "distill.renormalise", "distill.tau", "distill.normalise"),
    "label.fix_labels",
)


def stage(problems: Stage, samples: Stage | None, labels: Stage | None, place: str) -> Stage:
    """The student.

    Args:
        problems: of the run.
        samples: the teacher's solutions; None: the problems' own worked solutions are learned.
        labels: of these.
        place: where it is kept.
    """
    reads: dict[str, Any] = {
        "weights": Files("model.weights"),
        "tokenizer": Files("tokenizer.path"),
        "problems": problems.of(TRAIN),
        "heldout_problems": problems.of(HELDOUT),
        prompting.EXEMPLARS: problems.of(TRAIN, noted=False),
    }
    if samples is not None and labels is not None:
        reads |= {"samples": samples.of(TRAIN), "labels": labels.of(TRAIN)}
        if HELDOUT in samples.splits:
            reads |= {"heldout_samples": samples.of(HELDOUT), "heldout_labels": labels.of(HELDOUT)}
    return Stage(
        finetune,
        makes=GENERATOR,
        reads=reads,
        knobs=_KNOBS,
        place=place,
        jobs=(Job("finetune", "train", loss=student_loss),),
        check=check,
    )


def student_loss(config: config_lib.Config, vocab_size: int) -> Loss:
    """What the student makes smaller."""
    told = max(config.sample.top_logprobs, 1)
    return losses.loss(vocab_size, config.finetune.loss, config.distill, told)


def check(config: config_lib.Config) -> None:
    """Raises ConfigError for a loss that lacks what it reads, or formats with no share."""
    loss, mix = config.finetune.loss, config.distill.mix
    if loss != "match_sample" and not (config.distill.teacher or config.distill.log):
        raise ConfigError(
            f"finetune.loss={loss} needs a teacher's distributions; name one in distill.teacher, "
            "or a log of one in distill.log, or set finetune.loss=match_sample"
        )
    if loss == "match_distribution" and not config.sample.top_logprobs:
        raise ConfigError(
            "finetune.loss=match_distribution reads what the teacher thought of every token; set "
            "sample.top_logprobs=5"
        )
    if len(mix) != len(few_shot.FORMATS) or not sum(mix):
        raise ConfigError(
            f"distill.mix={list(mix)}: expected a share for each of "
            f"{', '.join(few_shot.FORMATS)}, and one of them above 0"
        )
    for name, known in few_shot.formats(config.distill).items():
        if loss != "match_sample" and known.is_worked and known.target != _SOLUTION:
            raise ConfigError(
                f"finetune.loss={loss} with {known.target!r} in distill.targets ({name}): a "
                "teacher has told of its solution's tokens alone, and other text would be left "
                f"out; write {_SOLUTION!r} there, or set finetune.loss=match_sample"
            )
    if not config.finetune.has_work:
        raise ConfigError(
            "finetune.epochs=0 finetune.steps=0: a student that is not trained has no checkpoints; "
            "raise one of them"
        )
    if config.finetune.patience:
        raise ConfigError(
            f"finetune.patience={config.finetune.patience} with checkpoints to choose among: a "
            "run that stops early lacks the later ones; set finetune.patience=0"
        )


def finetune(context: Context) -> None:
    """Trains the student on right solutions, in the formats of `distill.mix`."""
    train = context.problems("problems")
    if context.is_done(context.settings()):
        return
    taught, heldout = (_solutions(context, *each) for each in _SPLITS)
    solutions = taught.solutions
    rows = collections.defaultdict(list)
    for row, problem_id in enumerate(taught.problem_ids):
        rows[problem_id].append(row)
    own = context.config.distill
    plan, counts = formats.planned(rows, own.mix, context.config.seed)
    learned: dict[str, Any] = {"right solutions": len(solutions)}
    learned |= {f"examples of {name.replace('_', ' ')}": count for name, count in counts.items()}
    told = ", ".join(f"{name} {count:,}" for name, count in learned.items())
    log.say(f"{context.title()}: {told}")
    worked = next(name for name in few_shot.FORMATS if few_shot.FORMATS[name].is_worked)

    def examples(job: Job, tokenizer: Tokenizer) -> Examples:
        writer = _Writer(context, taught.tokenizer, tokenizer)
        learned.update(_show(context, writer, plan, solutions))
        watched = [Planned(row, worked, 0) for row in range(len(heldout.solutions))]
        seen = list(_Learned(writer, watched, heldout.solutions))
        return Examples(_Learned(writer, plan, solutions), seen)

    checkpoints = context.config.select.checkpoints
    make_generator(context, train, examples, checkpoints, learned, _template(own))


# Before the roles of what is learned and of what it is watched on.
_SPLITS = (("problems", ""), ("heldout_problems", "heldout_"))


def _solutions(context: Context, problems: str, which: str) -> RightSolutions:
    """A teacher's right solutions of the problems of a role, or else their own."""
    asked = context.problems(problems)
    if f"{which}samples" not in context.stage.reads:
        return right_solutions.own(context, asked)
    return right_solutions.taught(context, asked, which, max(context.config.sample.top_logprobs, 1))


def _template(config: config_lib.DistillConfig) -> Template:
    """How a problem is put to a student without exemplars: for a worked solution, if it has learned
    any.
    """
    formats_by_name = few_shot.formats(config)
    known = [
        each for each, share in zip(formats_by_name.values(), config.mix, strict=True) if share
    ]
    return Template(max(known, key=lambda each: each.is_worked).prompt)


class _Writer:
    """Examples of solutions in a format, in a student's tokens."""

    def __init__(self, context: Context, teacher: Tokenizer | None, tokenizer: Tokenizer) -> None:
        config = context.config
        self._config, self._tokenizer = config, tokenizer
        self._questions = {
            name: Questions(context, name, config.distill.shots) for name in few_shot.FORMATS
        }
        self._digits_V = vocabulary(tokenizer).digits_V
        self.aligner: Aligner | None = None
        self._differing: set[tuple[str, str]] = set()  # the first of those whose texts do
        if config.finetune.loss != "match_sample" and teacher is not None:
            self.aligner = Aligner(teacher, tokenizer, config.distill.align)

    def texts(self, planned: Planned, solution: RightSolution) -> tuple[str, str]:
        """Prompt and target of an example."""
        asked, problem = self._questions[planned.format], solution.problem
        salt = f"/{planned.row}/{planned.repeat}"
        target = asked.format.render_target(solution.text, problem.answer)
        return asked.text(problem, salt), target

    def aligned(self, solution: RightSolution) -> Aligned | None:
        """What the teacher thought of a solution, in the student's tokens.

        None where it thought nothing, or the student's tokens spell another text: that is learned
        by itself, and said of the first few.
        """
        if self.aligner is None or solution.taught is None:
            return None
        try:
            return self.aligner.align(solution.taught)
        except AlignmentError as error:
            known = solution.problem.problem_id, solution.text
            if len(self._differing) < _NAMED and known not in self._differing:
                self._differing.add(known)
                log.say(
                    f"warning: finetune: problem {solution.problem.problem_id}: {error}; the "
                    "student learns its text alone"
                )
            return None

    def example(self, planned: Planned, solution: RightSolution) -> Example:
        """One example, with what the teacher thought of its tokens where that is learned."""
        config, tokenizer = self._config, self._tokenizer
        prompt, target = self.texts(planned, solution)
        ids = [*tokenizer.start_ids, *tokenizer.encode(prompt)]
        tokens, forced = encode_solution(target, tokenizer)
        worked = few_shot.FORMATS[planned.format].is_worked
        aligned = self.aligned(solution) if worked else None
        taught = tokens if aligned is None else aligned.tokens_T.tolist()
        if tokens != taught:  # the teacher's own way to cut it up
            tokens, forced = taught, [False] * len(taught)
        made = lm_example(
            ids,
            tokens,
            forced,
            loss_on_question=False,
            loss_on_forced=config.finetune.loss_on_forced,
            name=f"{solution.problem.problem_id}/{planned.format}",
        )
        return teacher_targets.with_numbers(made, self._digits_V, self._told(made, aligned))

    def _told(self, made: Example, aligned: Aligned | None) -> Example:
        """An example with what the teacher has told of it, as the loss reads that."""
        config = self._config
        by_spans = config.finetune.loss == "match_spans"
        if aligned is None:
            plain = config.finetune.loss == "match_sample" or by_spans
            return made if plain else teacher_targets.one_hot(made, config.sample.top_logprobs)
        if by_spans:
            return teacher_targets.with_spans(made, aligned, config.distill.normalise)
        return teacher_targets.with_distributions(made, aligned)


class _Learned(LazyExamples):
    """The examples of a plan, each made when it is asked for."""

    def __init__(
        self, writer: _Writer, plan: Sequence[Planned], solutions: Sequence[RightSolution]
    ) -> None:
        self._writer, self._plan, self._solutions = writer, plan, solutions

    def __len__(self) -> int:
        return len(self._plan)

    def _made(self, index: int) -> Example:
        planned = self._plan[index]
        return self._writer.example(planned, self._solutions[planned.row])


def _show(
    context: Context, writer: _Writer, plan: Sequence[Planned], solutions: Sequence[RightSolution]
) -> dict[str, str]:
    """Says an example of each format as it is learned, and what an alignment has kept of the
    teacher, which is returned by name.
    """
    for name in few_shot.FORMATS:
        first = next((each for each in plan if each.format == name), None)
        if first is not None:
            prompt, target = writer.texts(first, solutions[first.row])
            log.say(f"{context.title()}: an example of {name}:\n{prompt}[{target}]")
    if writer.aligner is None:
        return {}
    looked_at, reports = 0, []
    for each in itertools.islice(solutions, _LOOKED_AT):
        looked_at += each.taught is not None
        if aligned := writer.aligned(each):
            reports.append(aligned.report)
    if len(reports) < looked_at:
        log.say(
            f"{context.title()}: {looked_at - len(reports):,} of {looked_at:,} solutions have "
            "another text in the student's tokens"
        )
    report = alignment_report.total(reports)
    for line in report.lines():
        log.say(f"{context.title()}: {writer.aligner.way}: {line}")
    said = (line.partition(": ") for line in report.lines()[1:])
    return {f"aligned by {writer.aligner.way}, {name}": told for name, _, told in said}
