"""Devices by name: how many, in how many machines, with which peaks; what is no device is
refused.
"""

import pytest

from verifier.errors import ConfigError
from verifier.plan import devices


@pytest.mark.parametrize(
    "text, name, count, hosts",
    [
        ("v5e-64", "TPU v5e", 64, 16),
        ("v5e-8", "TPU v5e", 8, 1),
        ("h100-8", "H100 SXM", 8, 1),
        ("h100-2", "H100 SXM", 2, 1),
        ("A100-16", "A100 SXM", 16, 2),
        ("h200-1", "H200 SXM", 1, 1),
        ("v4-32", "TPU v4", 32, 8),
    ],
)
def test_a_kind_and_a_number(text, name, count, hosts):
    found = devices.parse(text)
    assert (found.kind.name, found.count, found.hosts) == (name, count, hosts)


def test_a_number_alone_is_one_machine_of_any_kind():
    assert devices.parse("12") == devices.Devices(12, 12)


@pytest.mark.parametrize(
    "text, said",
    [
        ("h1000-8", "did you mean h100-8"),
        ("v5e", "expected KIND-N"),
        ("v5e-0", "expected KIND-N"),
        ("v5e-10", "multiple of 4"),
        ("h100-12", "multiple of 8"),
        ("-4", "expected KIND-N"),
        ("m1-2", "there is no kind 'm1'"),
        ("h100-1000000", "at most 2,048"),
        ("v5e-" + "9" * 5000, "at most 2,048"),
        ("h100-000", "expected KIND-N"),
    ],
)
def test_what_is_no_device_is_refused_with_the_way_out(text, said):
    with pytest.raises(ConfigError, match=said):
        devices.parse(text)


def test_peaks_are_the_published_ones():
    assert {
        name: (kind.teraflops, kind.gigabytes, kind.bandwidth)
        for name, kind in devices.KINDS.items()
    } == {
        "v4": (275, 32, 1200),
        "v5e": (197, 16, 819),
        "v5p": (459, 95, 2770),
        "v6e": (918, 32, 1640),
        "a100": (312, 80, 2000),
        "h100": (989, 80, 3350),
        "h200": (989, 141, 4800),
    }
