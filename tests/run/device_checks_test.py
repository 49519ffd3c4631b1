"""What devices cannot do is said of work that is left, and only of that."""

import pytest

from tests.shrunk import config, context, run
from verifier import errors
from verifier.decode import memory
from verifier.recipes import token_verifier
from verifier.run import device_checks, stage
from verifier.system import checksums


def test_what_was_trained_elsewhere_is_used_on_devices_that_could_not_train_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "usable", lambda weight_bytes=0: 0)
    with pytest.raises(errors.UserError, match="parameters, whose training takes"):
        run(config(), tmp_path, ["finetune"])
    work = context(config(), tmp_path, "finetune")
    checksums.write_sealed(work.folder() / "manifest.json", {"settings": work.settings()})
    run(config(), tmp_path, ["finetune"])


def test_a_stage_asks_for_its_own_jobs_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(device_checks, "check_rows", lambda name, *_: asked.append(name))
    own = config("pretrain.epochs=1")
    stages = token_verifier.stages(own)
    device_checks.check(own, stage.chosen(stages, ["label", "verify", "score"]))
    assert asked == ["verify"]
    device_checks.check(own, stage.chosen(stages, ["finetune", "verify"]))
    assert asked == ["verify", "pretrain", "finetune", "verify"]
