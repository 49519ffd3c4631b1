"""What a model that thinks costs, in a plan of its recipe."""

import pytest

from tests.recipes.quiet_star_test import config
from verifier.errors import ConfigError
from verifier.plan import amounts, devices, footprints, subject
from verifier.recipes import quiet_star

ONE = devices.parse("h100-1")
SMALL = "data.name=generated data.train_problems=4 data.heldout_problems=2 data.test_problems=4"
ANSWERS = ["think.answers=true", "sample.max_new_tokens=16", "sample.rows=8", *SMALL.split()]


def planned(*knobs):
    own = config(*knobs)
    stages = quiet_star.stages(own)
    jobs = {(stage.place, job.name): job for stage in stages for job in stage.jobs}
    return subject.read(own, list(jobs.values())), jobs


def test_a_thinker_writes_a_token_by_reading_its_thought_and_its_decoder_does_not():
    found, jobs = planned(*ANSWERS)
    plain, thinks, without = (
        footprints.plan(found, jobs[place, "sample"], ONE)
        for place in ("base", "stage=2", "no_thought")
    )
    assert plain.cost == without.cost
    passes = 1 + jobs["stage=2", "sample"].thoughts(found.config).thought_tokens
    assert passes > 2
    ratio = thinks.cost.operations / plain.cost.operations
    assert passes - 2 < ratio < 1.1 * passes  # two of the tokens that are read have no logits
    assert plain.wanted == thinks.wanted
    idle, _ = planned(*ANSWERS, "think.every=none")
    assert footprints.plan(idle, jobs["stage=2", "sample"], ONE).cost == plain.cost


def test_a_thinker_learns_from_all_tokens_of_its_thoughts():
    found, jobs = planned("pretrain.steps=1", "pretrain.batch_rows=2")
    base, thinks = (
        footprints.plan(found, jobs[place], ONE)
        for place in (("base", "pretrain"), ("stage=1", "finetune"))
    )
    quiet = jobs["stage=1", "finetune"].thoughts(found.config)
    read = 1 + quiet.thoughts * (quiet.thought_tokens + quiet.ahead - 1)
    assert thinks.cost.operations > read * base.cost.operations


def test_windows_that_nobody_has_counted_are_refused():
    found, jobs = planned("finetune.steps=0", "finetune.epochs=1")
    with pytest.raises(ConfigError, match=r"finetune\.steps=0.*set finetune\.steps"):
        amounts.trained_tokens(found, jobs["stage=1", "finetune"])
