"""How a stage puts problems to a model: plainly, or in one of the formats of `text.few_shot`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from verifier import config as config_lib
from verifier.errors import DataError
from verifier.run.context import Context
from verifier.run.stage import Files, Input, Stage
from verifier.system import paths
from verifier.tasks import bbh
from verifier.text import few_shot
from verifier.text.problem import Problem, problem_id
from verifier.text.split import TRAIN
from verifier.text.tokenizer import Tokenizer

Put = Callable[[Problem], list[int]]
_BBH_PROMPTS = "ood.bbh_prompts"
EXEMPLARS = "exemplars"  # the role in which training problems are read to be shown


@dataclasses.dataclass(frozen=True)
class Prompting:
    """A way of putting problems, and what it depends on.

    Attributes:
        of: the way for a stage at work and a model's tokenizer: start ids and prompt of a problem.
        knobs: that it depends on, beside those of the stage.
        exemplars: whether it shows training problems with their solutions.
        files: knobs that name files which it reads.
        check: refuses, before any stage begins, what it could not read.
    """

    of: Callable[[Context, Tokenizer], Put]
    knobs: tuple[str, ...] = ()
    exemplars: bool = False
    files: tuple[str, ...] = ()
    check: Callable[[config_lib.Config], None] | None = None

    def reads(self, problems: Stage) -> dict[str, Input | Files]:
        """What a stage reads for it, by role."""
        shown: dict[str, Input | Files] = {knob: Files(knob, watched=True) for knob in self.files}
        return shown | ({EXEMPLARS: problems.of(TRAIN)} if self.exemplars else {})


def _plain(context: Context, tokenizer: Tokenizer) -> Put:
    return functools.partial(context.prompt_ids, tokenizer=tokenizer)


PLAIN = Prompting(_plain)  # by `data.prompt_template`


def in_format(name: str, shots: str, exemplars: str = "") -> Prompting:
    """A format of `few_shot.FORMATS`.

    Args:
        name: of the format.
        shots: the knob that says how many exemplars stand before a question, where it has some.
        exemplars: the knob that may name a file of them; empty: none does, and test problems are
            put, those of BIG-Bench Hard among them.
    """

    def of(context: Context, tokenizer: Tokenizer) -> Put:
        flat = config_lib.flatten(context.config)
        file = flat[exemplars] if exemplars else ""
        return Questions(context, name, flat[shots], file).put(tokenizer)

    templates = ("distill.prompts", "distill.targets", "distill.between")
    if not few_shot.FORMATS[name].shots:
        return Prompting(of, templates[:1])
    files = (*([exemplars] if exemplars else []), _BBH_PROMPTS)
    knobs = (*templates, shots, "distill.annotations", *files)
    check = functools.partial(_check_file, shots, exemplars) if exemplars else _check_bbh
    return Prompting(of, knobs, True, files, check)


def by_knob(knob: str, config: config_lib.Config) -> Prompting:
    """The way that a knob names, a format or `plain`, for whoever writes solutions to learn from:
    exemplars are as `distill.teacher_shots` and `distill.exemplars` say.
    """
    named: str = config_lib.flatten(config)[knob]
    put = PLAIN
    if named != "plain":
        put = in_format(named, "distill.teacher_shots", "distill.exemplars")
    return dataclasses.replace(put, knobs=(knob, *put.knobs))


def _check_file(shots: str, exemplars: str, config: config_lib.Config) -> None:
    """Raises DataError for a file that cannot be read, or has too few exemplars."""
    flat = config_lib.flatten(config)
    if flat[exemplars]:
        _from_file(flat[exemplars], flat[shots], config.distill.annotations)


def _check_bbh(config: config_lib.Config) -> None:
    """Raises DataError where BIG-Bench Hard is tested on and prompts of its tasks are missing."""
    data, ood = config.data, config.ood
    for is_tested, tasks in (
        ("bbh" in ood.sets, ood.bbh_tasks),
        ((data.test_name or data.name) == "bbh", data.bbh_tasks),
    ):
        if is_tested:
            bbh.load_task_prompts(ood.bbh_prompts, tasks)


def _from_file(file: str, shots: int, annotations: bool) -> list[few_shot.Exemplar]:
    """All exemplars of a file, which has enough of them."""
    read = few_shot.read_exemplars(paths.local(file), annotations)
    if len(read) < shots:
        raise DataError(
            f"{file} has {len(read)} exemplars, and distill.teacher_shots={shots} are to be "
            "shown; add some, or ask for fewer"
        )
    return read


class Questions:
    """Questions of a run in one format, with exemplars drawn from its training problems."""

    def __init__(self, context: Context, name: str, shots: int, file: str = "") -> None:
        """Reads the training problems, or the exemplars of a file, where the format shows some.

        Raises:
            DataError: a file with fewer exemplars than are to be shown.
        """
        config = context.config
        known = few_shot.formats(config.distill)[name]
        self._seed, self._bbh_prompts = config.seed, config.ood.bbh_prompts
        self.format = dataclasses.replace(known, shots=shots if known.shots else 0)
        shown = context.problems(EXEMPLARS) if self.format.shots else []
        self._pool = few_shot.Pool(shown, config.distill.annotations)
        self._fixed: list[few_shot.Exemplar] | None = None
        if file and self.format.shots:
            self._fixed = _from_file(file, shots, config.distill.annotations)

    def text(self, problem: Problem, salt: str = "") -> str:
        """A question with its exemplars before it.

        Args:
            problem: that is asked.
            salt: other exemplars for every other text; empty: those that it is tested with.
        """
        if problem.source.startswith(bbh.SOURCE) and self.format.shots:
            own = _task_prompt(self._bbh_prompts, problem.source.removeprefix(bbh.SOURCE))
            worked = self.format.is_worked
            return (own.chain_of_thought if worked else own.answer_only)(problem.question)
        if self._fixed is None:
            drawn = self._pool.draw(problem.problem_id, self.format.shots, self._seed, salt)
            return self.format.render_prompt(problem.question, drawn)
        others = [each for each in self._fixed if problem_id(each.question) != problem.problem_id]
        shown = others[: self.format.shots]
        # One fewer where the file has no other in the place of the question itself.
        return dataclasses.replace(self.format, shots=len(shown)).render_prompt(
            problem.question, shown
        )

    def put(self, tokenizer: Tokenizer) -> Put:
        """The same in tokens."""
        return lambda problem: [*tokenizer.start_ids, *tokenizer.encode(self.text(problem))]


@functools.cache  # read again for every problem otherwise
def _task_prompt(folder: str, task: str) -> bbh.TaskPrompt:
    """The prompt of a task of BIG-Bench Hard, which brings its own exemplars."""
    return bbh.load_task_prompts(folder, (task,))[task]
