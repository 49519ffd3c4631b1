"""Where other people's files keep question, solution, gold answer and score: a table of layouts,
and how one is recognised. Reads no file.

A field is named by its path: `doc.question` is the field `question` of the object `doc`; lists on
the way are passed through, so that `outputs.response` is one text for every object of the list
`outputs`; `*` stands for any field.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from verifier.errors import TablesError
from verifier.ingest import shapes

TEXTS = (
    "question",
    "problem_id",
    "solution",
    "answer",
    "split",
    "generator",
    "verifier",
    "trained_on",
)
NUMBERS = ("sample_id", "score")
LISTS = ("token_scores", "tokens", "forced")
FIELDS = (*TEXTS, *NUMBERS, *LISTS)


class Layout(NamedTuple):
    """How one program writes samples.

    Attributes:
        marks: paths that are all there in its files, and not in those of the layouts after it.
        fields: for every field the paths where it may be, the first that is there is taken.
        once: a path whose first value in a file is the one to read, where the program writes every
            row once for each value.
    """

    marks: tuple[str, ...]
    fields: Mapping[str, tuple[str, ...]]
    once: str = ""


class Chosen(NamedTuple):
    """What is read of a file: the layout's name, the path of every field, and `once` of the
    layout.
    """

    layout: str
    fields: Mapping[str, str]
    once: str = ""
    note: str = ""


_ASKED = ("question", "problem", "prompt", "query", "input", "instruction")
_GOLD = (
    *(
        "answer",
        "gold",
        "gold_answer",
        "expected_answer",
        "ground_truth",
        "groundtruth",
        "ground_truth_answer",
        "gt",
        "gt_answer",
    ),
    *("reference_answer", "correct_answer", "target", "final_answer"),
)
_WRITTEN = (
    "completion",
    "generation",
    "response",
    "output",
    "generated_solution",
    "model_output",
    "generated_text",
    "model_response",
)
# these names are given to other things, too
_PERHAPS = ("code", "sample", "candidate", "prediction", "resps", "text")
_MANY = ("solutions", *(f"{name}s" for name in _WRITTEN))
_SCORED = (
    "score",
    "scores",
    "agg_scores",
    "verifier_score",
    "verifier_scores",
    "rm_score",
    "rm_scores",
    "reward_model_score",
    "vscore",
)

LAYOUTS: dict[str, Layout] = {
    # EleutherAI/lm-evaluation-harness --log_samples: every document once for each filter
    "lm_eval": Layout(
        ("doc", "resps"),
        {
            "question": tuple(f"doc.{name}" for name in (*_ASKED, "Question", "Problem")),
            "problem_id": ("doc_id",),
            "solution": ("resps",),
            "answer": ("target", "doc.answer"),
        },
        once="filter",
    ),
    # openai/grade-school-math, example_model_solutions.jsonl: a field for each model
    "openai": Layout(
        ("question", "ground_truth", "*.solution"),
        {"question": ("question",), "solution": ("*.solution",), "answer": ("ground_truth",)},
    ),
    # OpenAI's batches and vLLM's run_batch; gold answers come in --problems, by problem_id
    "openai_batch": Layout(
        ("custom_id", "response.body.choices"),
        {
            "problem_id": ("custom_id",),
            "solution": ("response.body.choices.message.content", "response.body.choices.text"),
            "generator": ("response.body.model",),
        },
    ),
    "ovm": Layout(  # FreedomIntelligence/OVM
        ("question", "ground_truth", "outputs.response"),
        {
            "question": ("question",),
            "solution": ("outputs.response",),
            "answer": ("ground_truth",),
            "score": ("outputs.vscore", "outputs.vscores", "outputs.score"),
        },
    ),
    "ovm_search": Layout(  # its guided search: one solution a row, `answer` is the data set's
        ("question", "ground_truth", "response", "response_answer"),
        {
            "question": ("question",),
            "solution": ("response",),
            "answer": ("ground_truth",),
            "score": ("vscore", "score"),
        },
    ),
    "openr": Layout(  # openreasoner/openr, record.jsonl
        ("question", "groundtruth", "output.text"),
        {
            "question": ("question",),
            "solution": ("output.text",),
            "answer": ("groundtruth",),
            "score": ("output.value",),
        },
    ),
    "search_and_learn": Layout(  # huggingface/search-and-learn: `scores` has one a step
        ("completions", "scores"),
        {
            "question": ("problem", "question", "prompt"),
            "solution": ("completions",),
            "answer": ("answer",),
            "score": ("agg_scores", "scores"),
            "token_scores": ("scores",),
        },
    ),
    # ZubinGou/math-evaluation-harness, QwenLM/Qwen2.5-Math: `solution` is the data set's, `score`
    # are verdicts
    "math_eval": Layout(
        ("gt", "code"),
        {
            "question": ("question", "problem", "prompt"),
            "problem_id": ("idx",),
            "solution": ("code",),
            "answer": ("gt",),
        },
    ),
    "nemo": Layout(  # NVIDIA/NeMo-Skills: output-rs0.jsonl and so on, one file a seed
        ("generation", "expected_answer"),
        {
            "question": ("problem", "question"),
            "solution": ("generation",),
            "answer": ("expected_answer",),
            "score": ("reward_model_score",),
        },
    ),
    "openmathinstruct": Layout(  # nvidia/OpenMathInstruct-1 and -2
        ("generated_solution", "expected_answer"),
        {
            "question": ("problem", "question"),
            "solution": ("generated_solution",),
            "answer": ("expected_answer",),
        },
    ),
    "abel": Layout(  # GAIR-NLP/abel
        ("prompt", "response", "gold"),
        {"question": ("prompt",), "solution": ("response",), "answer": ("gold",)},
    ),
    "verl": Layout(  # volcengine/verl, main_generation
        ("responses", "reward_model.ground_truth"),
        {
            "question": ("extra_info.question", "prompt.content", "prompt"),
            "solution": ("responses",),
            "answer": ("reward_model.ground_truth",),
        },
    ),
    "lighteval": Layout(  # huggingface/lighteval, details
        ("doc.query", "model_response.text"),
        {
            "question": ("doc.query",),
            "solution": ("model_response.text",),
            "answer": ("doc.choices",),
        },
    ),
    "openr1": Layout(  # open-r1's data sets: `solution` is the data set's
        ("problem", "generations"),
        {"question": ("problem",), "solution": ("generations",), "answer": ("answer",)},
    ),
}
GENERAL = ("flat", "nested")  # one solution a row, several a row: by the usual names of the fields
NAMES = ("auto", *GENERAL, *LAYOUTS)


def check_layout(name: str) -> None:
    """Raises TablesError with the nearest names if there is no such layout."""
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=2, cutoff=0.4) or list(NAMES)
        raise TablesError(
            f"--layout={name}: there is no such layout; nearest: {', '.join(near)}; all: "
            f"{', '.join(NAMES)}"
        )


def parse_fields(words: Iterable[str]) -> dict[str, str]:
    """What `--fields=question=problem,solution=completions` says; an empty path leaves a field out.

    Raises:
        TablesError: no `field=path`, no such field, or one twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, separator, path = word.strip().partition("=")
        if not separator or name not in FIELDS or name in found:
            what = "is there twice" if name in found else "expected field=path"
            raise TablesError(
                f"--fields={word}: {what}, such as --fields=question=problem,score=; the "
                f"fields: {', '.join(FIELDS)}"
            )
        found[name] = path
    return found


def choose(
    shape: shapes.Shape,
    layout: str,
    given: Mapping[str, str],
    where: str,
    needed: Sequence[str] = ("solution",),
) -> Chosen:
    """The layout of a file and the paths of its fields.

    Args:
        shape: of the file.
        layout: a name in NAMES; "auto" recognises one.
        given: paths that the user names; they take the place of the layout's. Those that problems
            or scores do not have are the samples'.
        where: the file, for messages.
        needed: fields that must be there, beside a question or a problem_id.

    Raises:
        TablesError: a path is not there, a needed field is not found, or several could be it; the
            message shows the fields that are there and the --fields line that would take them.
    """
    for name, path in given.items():
        if path and "solution" in needed and not shapes.find(shape, path):
            raise TablesError(
                f"{where}: no field `{path}`, which --fields names as {name}; it has "
                f"{', '.join(_there(shape))}"
            )
    known = {name: path for name, path in given.items() if not path or shapes.find(shape, path)}
    name = layout
    if layout == "auto":
        name = next(
            (
                each
                for each, one in LAYOUTS.items()
                if all(shapes.find(shape, mark) for mark in one.marks)
            ),
            "",
        )
        name = "" if "solution" not in needed or known.get("solution") else name
    if name in LAYOUTS:
        where = f"{where}, read as layout {name}"
        one = LAYOUTS[name]
        found = {
            field: next((path for path in paths if shapes.find(shape, path)), "")
            for field, paths in one.fields.items()
        }
        found, note = {field: path for field, path in found.items() if path}, ""
        if "question" in found:
            found.pop("problem_id", None)  # two files of one program may share it
    else:
        one, (found, note) = Layout((), {}), _by_names(shape, known, needed, where)
    found = {field: path for field, path in (found | known).items() if path}
    _refuse_lacking(shape, found, needed, where)
    name = name or (
        "nested" if "solution" in found and shapes.is_many(shape, found["solution"]) else "flat"
    )
    return Chosen(name, found, one.once if shapes.find(shape, one.once) else "", note)


def _by_names(
    shape: shapes.Shape, known: Mapping[str, str], needed: Sequence[str], where: str
) -> tuple[dict[str, str], str]:
    """Fields by their usual names, the project's own first, and a note on what was passed over."""
    odd = [
        name
        for name in ("tokens", "forced")
        if "*number" not in shape.get(name, ()) and "*bool" not in shape.get(name, ())
    ]
    found = {name: name for name in FIELDS if name in shape and name not in (*known, *odd)}
    notes: list[str] = []
    if "question" not in found and "question" not in known and "problem_id" not in found:
        asked = [name for name in _ASKED if shapes.holds(shape, name, "text")]
        found |= {"question": asked[0]} if asked else {}
    golds = [name for name in _GOLD if shapes.holds(shape, name, "text", "number", "bool")]
    if "answer" not in known and golds:
        found["answer"] = golds[0]
    scores = [
        name
        for name in _SCORED
        if name in shape and (name == "score" or shapes.holds(shape, name, "number"))
    ]
    verdicts = [name for name in scores if shapes.holds(shape, name, "bool")]
    if "score" not in known and scores:
        found["score"] = next((name for name in scores if name not in verdicts), "")
        notes += [f"`{verdicts[0]}` holds verdicts, no scores"] if verdicts else []
    if "solution" in needed and "solution" not in known:
        taken, own = _samples(shape, found)
        if len(taken) > 1:
            _refuse_several(where, "samples", "solution", taken, found)
        found |= {"solution": taken[0]} if taken else {}
        notes += [f"`{own}` is taken for the data set's own"] if own else []
        if (
            golds[1:]
            and golds[0] == "answer"
            and found.get("solution") != "solution"
            and "answer" not in known
        ):
            _refuse_several(where, "gold answer", "answer", golds[:2], found)
    return found, "; ".join(notes)


def _samples(shape: shapes.Shape, found: Mapping[str, str]) -> tuple[list[str], str]:
    """The paths that may be the samples, and the field `solution` where a list of texts stands
    beside it.
    """
    names = dict.fromkeys(
        (*_MANY, "solution", *_WRITTEN, *_PERHAPS, *(f"{name}s" for name in _PERHAPS))
    )
    lists = [name for name in names if "*text" in shape.get(name, ())]
    sure = [name for name in lists if name in (*_MANY, "solution", *_WRITTEN)]
    if lists:
        return sure or lists, "solution" if "text" in shape.get("solution", ()) else ""
    texts = [name for name in ("solution", *_WRITTEN) if "text" in shape.get(name, ())]
    return texts or [
        name for name in _PERHAPS if "text" in shape.get(name, ()) and name not in found.values()
    ], ""


def _refuse_several(
    where: str, what: str, name: str, paths: Sequence[str], found: Mapping[str, str]
) -> None:
    guess = {
        field: path
        for field, path in found.items()
        if field in ("question", "answer", "score") and path not in ("", field)
    }
    lines = " or ".join(_line({**guess, name: path}) for path in paths)
    raise TablesError(
        f"{where}: {' and '.join(f'`{path}`' for path in paths)} could each be the {what}: say "
        f"{lines}"
    )


def _refuse_lacking(
    shape: shapes.Shape, found: Mapping[str, str], needed: Sequence[str], where: str
) -> None:
    """Refuses a file without a field that must be there."""
    lacking = [name for name in needed if name not in found]
    lacking += [] if "question" in found or "problem_id" in found else ["question"]
    if not lacking:
        return
    line = {
        name: path
        for name, path in found.items()
        if name != path and name in ("question", "answer", "score")
    }
    for name in lacking:
        line[name] = _nearest(shape, name, {**found, **line})
    what = "`question` or `problem_id`" if lacking[0] == "question" else f"`{lacking[0]}`"
    raise TablesError(
        f"{where}: no field {what}; it has {', '.join(_there(shape)) or 'none'}: name it by "
        f"{_line(line)}"
    )


def _nearest(shape: shapes.Shape, name: str, found: Mapping[str, str]) -> str:
    """The path that most looks like a field: of its usual names, else a text that nothing else
    is.
    """
    usual = {
        "question": _ASKED,
        "solution": (*_WRITTEN, *_MANY, *_PERHAPS),
        "answer": _GOLD,
        "score": _SCORED,
    }.get(name, (name,))
    free = [
        path
        for path, kinds in shape.items()
        if path not in found.values() and (kinds or name not in TEXTS)
    ]
    near = [path for path in free if path.rpartition(".")[2].lower() in usual]
    near += [path for word in usual for path in free if word in path.lower()]
    near += difflib.get_close_matches(name, free, n=1, cutoff=0.5)
    return near[0] if near else "PATH"


def _line(fields: Mapping[str, str]) -> str:
    return "--fields=" + ",".join(f"{name}={path}" for name, path in fields.items())


def _there(shape: shapes.Shape) -> list[str]:
    """The fields of a file as paths, the first few."""
    leaves = [path for path in shape if not any(other.startswith(f"{path}.") for other in shape)]
    return leaves if len(leaves) <= 40 else [*leaves[:40], f"and {len(leaves) - 40} more"]
