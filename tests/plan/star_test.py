"""How much text the loops of a model that teaches itself stand for, and pairs out of them."""

from tests.recipes import star_test, v_star_test
from verifier.plan import amounts, subject
from verifier.recipes import star, v_star


def planned(config, stages):
    jobs = {(each.place, job.name): job for each in stages for job in each.jobs}
    return subject.read(config, list(jobs.values())), jobs


def test_of_what_is_put_with_hints_no_test_problem_is_counted():
    own = star_test.config()
    found, jobs = planned(own, star.stages(own))
    train = found.texts["train"]
    whole, hinted = (
        amounts.written_tokens(found, jobs[place, "sample"]) for place in ("loop=1", "loop=1/hint")
    )
    assert hinted == train.problems * train.solution < whole


def test_pairs_are_of_the_problems_that_are_drawn_from():
    tokens = []
    for knobs in ([], ["sample.train_problems=2"]):
        own = v_star_test.config("dpo.steps=0", "dpo.epochs=1", *knobs)
        found, jobs = planned(own, v_star.stages(own))
        tokens.append(amounts.trained_tokens(found, jobs["dpo", "dpo"]))
    assert tokens[1] == tokens[0] * 2 / found.texts["train"].problems
