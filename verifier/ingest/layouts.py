"""Where other people's files keep question, solution, gold answer and score: a table of layouts.

A field is named by its path: `doc.question` is the field `question` of the object `doc`; lists on
the way are passed through, so that `outputs.response` is one text for every object of the list
`outputs`; `*` stands for any field.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from verifier.errors import TablesError

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
LIKELIHOODS = ("likelihood", "likelihood_own")
NUMBERS = ("sample_id", "score", *LIKELIHOODS)
LISTS = ("token_scores", "tokens", "forced")
FIELDS = (*TEXTS, *NUMBERS, *LISTS)

# The names that programs give to question, gold answer, solution and score.
ASKED = ("question", "problem", "prompt", "query", "input", "instruction")
GOLD = (
    "answer",
    "gold",
    "gold_answer",
    "expected_answer",
    "ground_truth",
    "groundtruth",
    "ground_truth_answer",
    "gt",
    "gt_answer",
    "reference_answer",
    "correct_answer",
    "target",
    "final_answer",
)
WRITTEN = (
    "completion",
    "generation",
    "response",
    "output",
    "generated_solution",
    "model_output",
    "generated_text",
    "model_response",
)
# Names of solutions that are given to other things, too.
PERHAPS = ("code", "sample", "candidate", "prediction", "resps", "text")
MANY = ("solutions", *(f"{name}s" for name in WRITTEN))
SCORED = (
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


LAYOUTS: dict[str, Layout] = {
    # EleutherAI/lm-evaluation-harness --log_samples: every document once for each filter
    "lm_eval": Layout(
        ("doc", "resps"),
        {
            "question": tuple(f"doc.{name}" for name in (*ASKED, "Question", "Problem")),
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
    fields: dict[str, str] = {}
    for word in words:
        name, separator, path = word.strip().partition("=")
        if not separator or name not in FIELDS or name in fields:
            what = "is there twice" if name in fields else "expected field=path"
            raise TablesError(
                f"--fields={word}: {what}, such as --fields=question=problem,score=; the "
                f"fields: {', '.join(FIELDS)}"
            )
        fields[name] = path
    return fields
