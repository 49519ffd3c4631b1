"""Types of knobs by name: what each takes."""

from __future__ import annotations

from typing import Annotated, Literal

from verifier.config.kinds import Range

# What a knob takes stands beside its name; a limit is far above what anybody is known to use, and
# below what any count or size breaks at.
Count = Annotated[int, Range(1, 1_000_000)]
Number = Annotated[int, Range(0, 1_000_000)]  # 0: all there are, none or off, as the knob says
Problems = Annotated[int, Range(0, 10_000_000)]
Tokens = Annotated[int, Range(1, 10_000_000)]
Steps = Annotated[int, Range(0, 1_000_000_000)]
Epochs = Annotated[float, Range(0, 10_000)]
Rate = Annotated[float, Range(0, 10, above=True)]
Share = Annotated[float, Range(0, 1, below=True)]
Seconds = Annotated[float, Range(0, 86_400, above=True)]
Amount = Annotated[float, Range(0, 1_000_000)]
Length = Annotated[int, Range(1, 50)]  # of a problem: its changes, or its digits
Devices = Annotated[int, Range(1, 100_000, off=-1)]
Grader = Literal[
    "numeric",
    "paper",
    "strict",
    "flexible",
    "bbh",
    "bbh_substring",
    "equation",
    "exact",
    "math_verify",
]
ForTesting = Literal["svamp", "asdiv", "multiarith", "bbh"]  # sources without training problems
Source = Literal["generated", "gsm8k", ForTesting, "svamp_equations", "labelled_choice", "sums"]
Kind = Literal["chain", "price", "distance", "share", "backwards", "guess", "rectangle"]
BbhTask = Literal[
    "boolean_expressions",
    "causal_judgement",
    "date_understanding",
    "disambiguation_qa",
    "dyck_languages",
    "formal_fallacies",
    "geometric_shapes",
    "hyperbaton",
    "logical_deduction_five_objects",
    "logical_deduction_seven_objects",
    "logical_deduction_three_objects",
    "movie_recommendation",
    "multistep_arithmetic_two",
    "navigate",
    "object_counting",
    "penguins_in_a_table",
    "reasoning_about_colored_objects",
    "ruin_names",
    "salient_translation_error_detection",
    "snarks",
    "sports_understanding",
    "temporal_sequences",
    "tracking_shuffled_objects_five_objects",
    "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
    "web_of_lies",
    "word_sorting",
]
