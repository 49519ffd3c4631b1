"""The names that programs give to question, gold answer, solution and score."""

from __future__ import annotations

ASKED = ("question", "problem", "prompt", "query", "input", "instruction")
GOLD = (
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
# Names that are given to other things, too.
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
