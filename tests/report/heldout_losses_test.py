"""The held-out losses of a sweep without tests: of every variant, seed and job, and no others."""

import json

from verifier.report import heldout_losses
from verifier.system import checksums


def made(folder, **jobs):
    """A workdir whose generator has been trained by some jobs, with their held-out losses."""
    facts = {
        name: {"steps": 8, "kept_step": 6, "heldout": {"loss": loss} if loss else {}}
        for name, loss in jobs.items()
    }
    checksums.write_sealed(folder / "generator" / "manifest.json", {"settings": {}, **facts})
    return folder


def test_losses_are_told_by_variant_seed_and_job(tmp_path):
    roots = {
        "base": {1: made(tmp_path / "a", finetune=0.5), 0: made(tmp_path / "b", finetune=0.25)},
        "pretrained": {0: made(tmp_path / "c", pretrain=2.0, finetune=0.125)},
        "unwatched": {0: made(tmp_path / "d", finetune=None)},
        "missing": {0: tmp_path / "e"},
    }
    compared = json.loads(json.dumps(heldout_losses.compare(roots)))
    told = compared["heldout"]
    assert compared["base"] == "base" and list(told["base"]) == ["0", "1"]
    assert told["base"]["1"]["finetune"]["heldout"] == {"loss": 0.5}
    assert told["unwatched"] == told["missing"] == {"0": {}}
    lines = heldout_losses.table(compared).splitlines()
    assert lines[2].split() == ["base", "0.2500", "[8]", "/", "0.5000", "[8]", "-", "/", "-"]
    assert lines[3].split() == ["pretrained", "0.1250", "[8]", "2.0000", "[8]"]
    assert lines[5].split() == ["missing", "-", "-"]
