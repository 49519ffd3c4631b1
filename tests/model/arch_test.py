import dataclasses

import pytest

from tests.hf.families import FAMILIES
from verifier.config import ModelConfig
from verifier.model.arch import scratch_arch


def test_scratch_arch_takes_the_config_s_sizes():
    config = ModelConfig(
        layers=3,
        width=24,
        heads=6,
        kv_heads=2,
        mlp_width=40,
        context=50,
        rope_theta=500.0,
        tied=False,
    )
    arch = scratch_arch(config, 77)
    assert (
        arch.vocab_size,
        arch.layers,
        arch.width,
        arch.head_width,
        arch.kv_heads,
        arch.mlp_width,
    ) == (128, 3, 24, 4, 2, 40)
    assert (arch.context, arch.rope_theta, arch.tied, arch.norm, arch.positions) == (
        50,
        500.0,
        False,
        "rms",
        "rotary",
    )
    assert hash(arch) == hash(scratch_arch(config, 77)) and arch != scratch_arch(config, 129)


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="model.width 30 is not a multiple of model.heads 4"):
        scratch_arch(ModelConfig(width=30, heads=4), 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(kv_heads=3), "heads 4 is not a multiple of kv_heads 3"),
        (dict(layers=0), "layers is 0"),
        (dict(positions="alibi"), "positions 'alibi'"),
        (dict(head_width=5), "head_width 5 is odd"),
        (dict(sliding_window=0), "sliding_window is 0"),
        (dict(sliding_window=3, sliding_window_pattern=0), "sliding_window_pattern is 0"),
        (dict(sliding_window_pattern=6), "sliding_window; set it too"),
        (dict(local_rope_theta=10.0), "sliding_window; set it too"),
    ],
)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(FAMILIES["llama"], **change)


def test_every_nth_layer_sees_all():
    arch = dataclasses.replace(FAMILIES["gemma3"], layers=7)
    assert arch.windows == (3, None, 3, None, 3, None, 3)
    assert dataclasses.replace(arch, sliding_window_pattern=6).windows == (3, 3, 3, 3, 3, None, 3)
    assert dataclasses.replace(arch, sliding_window_pattern=None).windows == (3,) * 7
    assert (
        dataclasses.replace(arch, sliding_window_pattern=1).windows
        == FAMILIES["llama"].windows + (None,) * 5
        == (None,) * 7
    )
