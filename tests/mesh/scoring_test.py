"""The same values on every mesh."""

import functools

import numpy as np
import pytest
from flax import nnx

from tests.mesh.training_test import MESHES, sizes_of
from verifier.config import ScoreConfig
from verifier.decode import score, score_rows
from verifier.model import sharding
from verifier.model.arch import Arch
from verifier.model.heads import ReservedLogitHead, Verifier
from verifier.model.transformer import Transformer

ARCH = Arch(64, layers=2, width=32, heads=8, kv_heads=8, head_width=4, mlp_width=64, context=128)


def problems():
    rng = np.random.default_rng(0)
    return [
        score_rows.Solutions(
            f"p{n}",
            rng.integers(0, 60, 5 + 9 * n).tolist(),
            range(12),
            [rng.integers(0, 60, length).tolist() for length in rng.integers(1, 40, 12)],
        )
        for n in range(6)
    ]


@functools.cache
def values(mesh):
    verifier = Verifier(Transformer(ARCH, rngs=nnx.Rngs(0)), ReservedLogitHead(60))
    if mesh is not None:
        nnx.update(verifier, sharding.place_parameters(nnx.state(verifier, nnx.Param), mesh))
    rows = score.score_samples(verifier, problems(), ScoreConfig(rows=4), "mine", "mse", mesh)
    return {
        (row["problem_id"], row["sample_id"]): row["token_scores"] for each in rows for row in each
    }


@pytest.mark.parametrize("config", MESHES, ids=sizes_of)
def test_every_mesh_gives_the_same_values(config):
    here, there = values(sharding.make_mesh(config)), values(None)
    assert here.keys() == there.keys() and len(here) == 72
    for name in there:
        np.testing.assert_allclose(here[name], there[name], atol=1e-5)
