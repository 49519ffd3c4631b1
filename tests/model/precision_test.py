import jax
import pytest

from verifier.model import precision
from verifier.system import processor


@pytest.mark.parametrize(
    ("platform", "capability", "features", "dtype", "why"),
    [
        ("tpu", 0.0, (), "bfloat16", "TPU"),
        ("gpu", 9.0, (), "bfloat16", "tensor cores for it (9)"),
        ("gpu", 8.0, (), "bfloat16", "tensor cores"),
        ("gpu", 7.5, (), "float32", "not known"),
        ("gpu", 0.0, ("avx512_bf16",), "float32", "not known"),  # not NVIDIA's
        ("cpu", 0.0, ("avx512f", "avx512_bf16"), "bfloat16", "avx512_bf16"),
        ("cpu", 0.0, ("amx_bf16",), "bfloat16", "amx_bf16"),
        ("cpu", 0.0, ("avx512f",), "float32", "this CPU is not known"),
        ("metal", 0.0, ("avx512_bf16",), "float32", "not known"),
    ],
)
def test_a_device_gets_the_type_that_it_is_fast_in(platform, capability, features, dtype, why):
    choice = precision.choose(platform, capability, features)
    assert choice.dtype == dtype and why in choice.why


def test_this_cpu_is_judged_by_its_own_instructions(monkeypatch):
    assert jax.local_devices()[0].platform == "cpu"
    for features, dtype in (({"avx512_bf16"}, "bfloat16"), (set(), "float32")):
        monkeypatch.setattr(processor, "features", lambda features=features: features)
        assert precision.of_this_device().dtype == dtype
