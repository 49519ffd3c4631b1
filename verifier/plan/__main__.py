"""python -m verifier.plan: what an experiment needs on devices that are not there.

The flags are here; the figures are the other modules'.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from verifier import errors
from verifier.system import stopping

if __name__ == "__main__":
    stopping.listen(goes_on=False)  # before all that takes time to import

from absl import app, flags

from verifier import config as config_lib
from verifier.config import checks as config_checks
from verifier.plan import answer
from verifier.plan import devices as devices_lib
from verifier.run import experiment
from verifier.system import log

_EXP = flags.DEFINE_string(
    "exp", None, "A module of experiments/ or a path to a .py file with get_config()."
)
_MESH = flags.DEFINE_string(
    "mesh", None, "data,fsdp,tensor, such as 1,16,4. Default: the experiment's."
)
_DEVICES = flags.DEFINE_string(
    "devices", None, "KIND-N such as v5e-64 or h100-8, or a number. Default: the product of --mesh."
)
_STAGES = flags.DEFINE_list(
    "stages",
    None,
    "Some of pretrain, finetune, sample, verify, score. Default: those of the experiment.",
)
_SET = flags.DEFINE_multi_string(
    "set",
    [],
    "path=value for a knob of the configuration; may be repeated, or followed by more path=value.",
)


def run(argv: Sequence[str]) -> str:
    """What `main` prints, with errors that a user can mend still raised.

    Args:
        argv: arguments that are no flags; each must be one more `path=value`.
    """
    if _EXP.value is None:
        raise errors.ConfigError(
            "--exp is missing: name an experiment, such as --exp=gsm8k_token_verifier "
            "--devices=h100-8"
        )
    strays = [word for word in argv if "=" not in word]
    if strays:
        raise errors.ConfigError(
            f"unexpected argument {strays[0]!r}: knobs are given as --set path=value, the rest "
            "as --flag=value"
        )
    config = config_lib.override(
        experiment.load(_EXP.value), [*answer.mesh(_MESH.value), *_SET.value, *argv]
    )
    config_checks.check(config)
    devices = devices_lib.parse(_DEVICES.value or answer.devices_of(config.mesh))

    # the compiler's remarks on how it divides programs
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import jax  # after the cheap checks: it takes seconds

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices.count)
    from verifier.recipes import token_verifier

    recipe = experiment.load_recipe(_EXP.value, token_verifier.stages)
    for stage in recipe(config):
        if stage.jobs:
            stage.refuse(config)
    return answer.answer(config, recipe, devices, _STAGES.value)


def main(argv: Sequence[str]) -> None:
    """Plans; what a user can mend ends as one line on stderr and exit status 1."""
    try:
        log.tell(run(argv[1:]))
    except errors.UserError as error:
        log.complain(error)
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
