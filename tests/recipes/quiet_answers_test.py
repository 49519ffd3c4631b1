"""Which models of Quiet-STaR answer the test problems, and where."""

from tests.recipes.quiet_star_test import config
from verifier.recipes import quiet_star

# Where they answer, and what makes the model there; not the first thinker of two.
PLACES = {"base": "pretrain", "stage=2": "finetune", "no_thought": "finetune"}


def test_the_base_the_last_thinker_and_who_does_without_answer_where_that_is_asked_for():
    plain = [str(each) for each in quiet_star.stages(config())]
    stages = {str(each): each for each in quiet_star.stages(config("think.answers=true"))}
    more = {f"{name} ({place})" for name in ("direct", "sample", "label") for place in PLACES}
    assert set(stages) - set(plain) == {"problems", *more}
    for place, maker in PLACES.items():
        for name in ("direct", "sample"):
            work = stages[f"{name} ({place})"]
            assert work.reads["generator"].stage is stages[f"{maker} ({place})"]
            assert "think.every" in work.knobs
