"""python -m verifier.plan: what an experiment needs on devices that are not there. Knows flags; the figures are the other modules'."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Sequence

from absl import app, flags

from verifier import config as config_lib
from verifier import config_checks, experiment
from verifier.plan import devices as devices_lib

_EXP = flags.DEFINE_string("exp", None, "A module of experiments/ or a path to a .py file with get_config().")
_MESH = flags.DEFINE_string("mesh", None, "data,fsdp,tensor, such as 1,16,4. Default: the experiment's.")
_DEVICES = flags.DEFINE_string("devices", None, "KIND-N such as v5e-64 or h100-8, or a number. Default: the product of --mesh.")
_STAGES = flags.DEFINE_list("stages", None, "Some of pretrain, finetune, sample, verify, score. Default: those of the experiment.")
_SET = flags.DEFINE_multi_string("set", [], "path=value for a knob of the configuration; may be repeated, or followed by more path=value.")


def run(argv: Sequence[str]) -> str:
    """What `main` prints, with errors that a user can mend still raised.

    Args:
        argv: arguments that are no flags; each must be one more `path=value`.
    """
    if _EXP.value is None:
        raise config_lib.ConfigError("--exp is missing: name an experiment, such as --exp=gsm8k_token_verifier --devices=h100-8")
    strays = [word for word in argv if "=" not in word]
    if strays:
        raise config_lib.ConfigError(f"unexpected argument {strays[0]!r}: knobs are given as --set path=value, the rest as --flag=value")
    config = config_lib.override(experiment.load(_EXP.value), [*_mesh(_MESH.value), *_SET.value, *argv])
    config_checks.check(config)
    devices = devices_lib.parse(_DEVICES.value or _product(config.mesh))

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # the compiler's remarks on how it divides programs
    import jax  # after the cheap checks: it takes seconds

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices.count)
    return answer(config, devices, _STAGES.value)


def answer(config: config_lib.Config, devices: devices_lib.Devices, names: Sequence[str] | None) -> str:
    """The plan of some stages as text; None: of all that the settings have."""
    from verifier.plan import advice, stages, subject, table

    all_names = ("pretrain", "finetune", "sample", "verify", "score")
    if strange := [name for name in names or () if name not in all_names]:
        raise config_lib.ConfigError(f"--stages: nothing is planned for {strange[0]!r}; expected some of {', '.join(all_names)}")
    idle = {name for name in stages.JOBS if not getattr(config, name).epochs}
    asked = [name for name in all_names if (name not in idle if names is None else name in names)]
    config = dataclasses.replace(config, mesh=stages.closed(config.mesh, devices))
    found = subject.read(config)
    planned: list[stages.Stage | str] = []
    ways: dict[str, str] = {}
    for name in asked:
        try:
            stage = stages.plan(found, name, devices)
            planned.append(stage)
            fits = stage.total <= advice.limit(devices)
        except config_lib.ConfigError:
            raise
        except config_lib.UserError as error:  # sampling has sizes of its own to refuse
            planned.append(name)
            ways[name] = f"{error}\n  "
            fits = False
        if not fits:
            ways[name] = ways.get(name, "") + advice.ways_out(found, name, devices)
    return table.render(found, devices, planned, ways)


def _mesh(text: str | None) -> list[str]:
    """The assignments that --mesh stands for."""
    if text is None:
        return []
    sizes = text.replace("x", ",").split(",")
    if len(sizes) != 3 or not all(re.fullmatch(r"-1|[1-9]\d*", size.strip()) for size in sizes):
        raise config_lib.ConfigError(f"--mesh={text}: expected three numbers of devices, data,fsdp,tensor, such as 1,16,4 (one may be -1)")
    return [f"mesh.{axis}={size.strip()}" for axis, size in zip(("data", "fsdp", "tensor"), sizes, strict=True)]


def _product(mesh: config_lib.MeshConfig) -> str:
    """How many devices a mesh has that leaves none open."""
    if -1 in (mesh.data, mesh.fsdp, mesh.tensor):
        raise config_lib.ConfigError(
            f"--devices is missing, and mesh.data={mesh.data} mesh.fsdp={mesh.fsdp} mesh.tensor={mesh.tensor} leaves their number open: "
            "give --devices=KIND-N such as h100-8, or --mesh without -1"
        )
    return str(mesh.data * mesh.fsdp * mesh.tensor)


def main(argv: Sequence[str]) -> None:
    """Plans; what a user can mend ends as one line on stderr and exit status 1."""
    try:
        print(run(argv[1:]))
    except config_lib.UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
