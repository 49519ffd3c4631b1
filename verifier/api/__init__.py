"""A run's models in somebody's own program: solutions drawn, searched for, scored, the best chosen.

from verifier import api

v = api.load("runs/NAME")
question = "How many legs have 3 cats?"
solutions = ["3*4=12\\n#### 12", "3+4=7\\n#### 7"]
print([each.score for each in v.score(question, solutions)])
print(v.best(question, solutions).solution)
print([step.value for step in v.score_steps(question, solutions)[0]])

g = api.load_generator("runs/NAME")
print([each.solution for each in g.generate([question], samples=4)[0]])
print(g.search([question], v, method="beam", budget=16)[0].solution)
"""

from verifier.api.errors import ApiError
from verifier.api.generating import (
    Generated,
    LoadedGenerator,
    Searched,
    TriedStep,
    load_generator,
)
from verifier.api.reading import Best, LoadedVerifier, Scored, StepValue, load

__all__ = [
    "ApiError",
    "Best",
    "Generated",
    "LoadedGenerator",
    "LoadedVerifier",
    "Scored",
    "Searched",
    "StepValue",
    "TriedStep",
    "load",
    "load_generator",
]
