"""What devices cannot do is said of work that is left, and only of that."""

import pytest

from tests.shrunk import config
from verifier import errors
from verifier.decode import memory
from verifier.run import device_checks, workdir
from verifier.stages import runner
from verifier.system import checksums


def test_what_was_trained_elsewhere_is_used_on_devices_that_could_not_train_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(memory, "usable", lambda weight_bytes=0: 0)
    with pytest.raises(errors.UserError, match="parameters, whose training takes"):
        runner.run(config(), tmp_path, ["finetune"])
    done = {"settings": workdir.settings(config(), "finetune")}
    checksums.write_sealed(workdir.Workdir(tmp_path).generator / "manifest.json", done)
    runner.run(config(), tmp_path, ["finetune"])


def test_a_stage_asks_for_its_own_jobs_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(device_checks, "check_rows", lambda name, *_: asked.append(name))
    device_checks.check(config("pretrain.epochs=1"), ["label", "verify", "score"])
    assert asked == ["verify"]
    device_checks.check(config("pretrain.epochs=1"), ["finetune", "verify"])
    assert asked == ["verify", *device_checks.JOBS]
