"""What is planned from two small depths is what the compiler says of the full depth."""

import pytest

from tests.mesh.training_test import sizes_of
from tests.plan import planned
from verifier import config as config_lib
from verifier.config import MeshConfig
from verifier.errors import ConfigError
from verifier.plan import advice, devices, footprints, programs
from verifier.run import experiment

SMALL = """
model.weights= tokenizer.kind=bytes model.layers=5 model.width=128 model.heads=8 model.kv_heads=8
model.mlp_width=384 model.context=512
data.train_problems=40 data.heldout_problems=8 data.test_problems=20
finetune.batch_rows=16 verify.batch_rows=16 sample.rows=64
""".split()
# Shapes like SmolLM2's: odd heads, few layers' worth of parameters beside a large vocabulary.
WIDE = [
    *SMALL,
    "model.width=576",
    "model.heads=9",
    "model.kv_heads=3",
    "model.mlp_width=1536",
    "tokenizer.kind=sentencepiece",
    "tokenizer.vocab_size=20000",
    "data.name=generated",
    "finetune.row_tokens=256",
    "finetune.accumulate=1",
]
EIGHT = devices.Devices(8, 8)


def subject_of(name, mesh, *more):
    sizes = [f"mesh.{axis}={getattr(mesh, axis)}" for axis in ("data", "fsdp", "tensor")]
    return planned.read(config_lib.override(experiment.load(name), [*more, *sizes]))


PAIRS = [
    (
        "tiny_token_verifier",
        "verify",
        MeshConfig(1, 8, 1),
        [*SMALL, "verify.remat=true", "model.dtype=bfloat16"],
    ),
    ("tiny_token_verifier", "finetune", MeshConfig(2, 2, 2), [*SMALL, "finetune.accumulate=2"]),
    ("gsm8k_token_verifier", "finetune", MeshConfig(1, 8, 1), WIDE),
    ("tiny_token_verifier", "sample", MeshConfig(2, 2, 2), SMALL),
    ("tiny_token_verifier", "score", MeshConfig(1, 8, 1), SMALL),
]


@pytest.mark.parametrize(
    "name, stage, mesh, settings", PAIRS, ids=[f"{pair[1]}-{sizes_of(pair[2])}" for pair in PAIRS]
)
def test_bytes_of_a_device_are_within_a_tenth_of_the_full_depths(
    name, stage, mesh, settings, monkeypatch
):
    found = subject_of(name, mesh, *settings)
    stage_plan = planned.plan(found, stage, EIGHT)
    whole = {}
    monkeypatch.setattr(
        programs,
        "at_depth",
        lambda measure, arch: whole.update(measure(arch.layers)) or dict(whole),
    )
    planned.plan(found, stage, EIGHT)
    # score: of 20 problems, whose prompts one call reads
    caches = whole.pop("caches", programs.Size(0, 0)).given
    compiled = max(
        size.total + (caches if name == "prompts" else 0) for name, size in whole.items()
    )
    assert sum(stage_plan.held.values()) == pytest.approx(compiled, rel=0.1)


def test_parts_are_divided_as_the_mesh_says():
    held = [
        planned.plan(
            subject_of("tiny_token_verifier", mesh, *SMALL, "model.layers=1"), "finetune", EIGHT
        ).held
        for mesh in (MeshConfig(8, 1, 1), MeshConfig(1, 8, 1))
    ]
    # norms lie whole
    assert held[0]["parameters"] == pytest.approx(8 * held[1]["parameters"], rel=0.02)
    assert held[0]["optimiser"] == pytest.approx(2 * held[0]["parameters"], rel=0.01)
    assert held[0]["batch"] == held[1]["batch"]


def test_a_way_out_is_one_that_fits(monkeypatch):
    """A device so small that only recomputing or smaller micro-batches help."""
    small = [*SMALL, "model.layers=2"]
    found = subject_of("tiny_token_verifier", MeshConfig(8, 1, 1), *small)
    whole = planned.plan(found, "finetune", EIGHT)
    tight = devices.Devices(
        8, 8, devices.Kind("small", "tpu", 1.0, whole.total * 0.8 / advice.USABLE / 1e9, 1.0, 8)
    )
    said = planned.ways_out(found, "finetune", tight)
    assert said.startswith("--set finetune.remat=true makes it") and said.endswith("which fits")
    monkeypatch.setattr(footprints, "plan", lambda subject, name, devices: whole)  # whatever is set
    none = devices.Devices(8, 8, devices.Kind("none", "tpu", 1.0, 1e-6, 1.0, 8))
    assert planned.ways_out(found, "finetune", none).startswith(
        "nothing tried fits; closest is --set"
    )


def test_meshes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="does not make up the 8 devices"):
        planned.plan(
            subject_of("tiny_token_verifier", MeshConfig(3, 1, 1), *SMALL), "finetune", EIGHT
        )
    with pytest.raises(ConfigError, match=r"heads=9, which mesh\.tensor=8 does not divide"):
        nine = [*SMALL, "model.heads=9", "model.width=576", "model.kv_heads=3"]
        planned.plan(
            subject_of("tiny_token_verifier", MeshConfig(1, 1, 8), *nine), "finetune", EIGHT
        )
    with pytest.raises(ConfigError, match="a micro-batch of finetune"):
        planned.plan(
            subject_of(
                "tiny_token_verifier", MeshConfig(8, 1, 1), *SMALL, "finetune.batch_rows=12"
            ),
            "finetune",
            EIGHT,
        )
    with pytest.raises(
        ConfigError, match=r"mesh\.tensor=8 does not divide the 4 devices of a process"
    ):
        planned.plan(
            subject_of("tiny_token_verifier", MeshConfig(1, 1, 8), *SMALL),
            "sample",
            devices.Devices(8, 4),
        )
