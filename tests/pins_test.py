"""The ranges of setup.cfg and the pins of requirements.lock: what is known not to work together
cannot be installed together.
"""

import configparser
import pathlib

import pytest
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]


def wanted(python: str) -> dict[str, Requirement]:
    """The ranges that hold for a version of Python, by package."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    lines = settings["options"]["install_requires"].strip().splitlines()
    found = [Requirement(line) for line in lines]
    return {
        each.name: each
        for each in found
        if each.marker is None or each.marker.evaluate({"python_version": python})
    }


def allows(python: str, **versions: str) -> bool:
    return all(
        wanted(python)[name].specifier.contains(version) for name, version in versions.items()
    )


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_what_is_pinned_is_in_range(python):
    pins = [
        Requirement(line)
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if line and not line.startswith(("#", "--"))
    ]
    place = {
        "python_full_version": f"{python}.1",
        "python_version": python,
        "sys_platform": "linux",
        "platform_machine": "x86_64",
    }
    here = {
        each.name.replace("_", "-"): each
        for each in pins
        if each.marker is None or each.marker.evaluate(place)
    }
    for name, range_ in wanted(python).items():
        version = next(iter(here[name.lower().replace("_", "-")].specifier)).version
        assert range_.specifier.contains(version), (
            f"{name} {version} is pinned for Python {python}, but setup.cfg wants {range_}"
        )


def test_pairs_that_break_are_out_of_range():
    assert allows("3.11", jax="0.10.2", flax="0.12.8", safetensors="0.8.0")
    assert allows("3.12", jax="0.11.2", flax="0.12.12", safetensors="0.8.0")
    # flax.nnx fails on import: jax.experimental.hijax lost MutableHiType in 0.11.1 and HiPrimitive
    # in 0.11.2.
    for flax in ("0.12.0", "0.12.8", "0.12.9", "0.12.11"):
        assert not any(
            allows(python, jax="0.11.2", flax=flax) for python in ("3.11", "3.12", "3.13")
        )
    assert not allows("3.11", safetensors="0.4.0")  # cannot read bfloat16 as numpy arrays
