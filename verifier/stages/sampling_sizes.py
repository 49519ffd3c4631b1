"""The sizes that sampling goes on with after a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from verifier import config as config_lib
from verifier.decode import memory
from verifier.run import hosts
from verifier.system import log
from verifier.tables import store


def of_the_first_start(
    title: str,
    table: store.TableWriter,
    sizes: memory.JobSizes,
    config: config_lib.SampleConfig,
    facts: Mapping[str, Any],
) -> memory.JobSizes | None:
    """The sizes that a split was begun with, whatever memory is free now; None where they were
    asked for otherwise or do not fit, and where several processes share the problems as they go.

    Programs are compiled by sizes, and those of other sizes add up in another order.

    facts: what else the first start notes of itself.
    """
    device = jax.local_devices()[0].device_kind
    asked = {
        "rows": config.rows,
        "memory_gib": config.memory_gib,
        "share": config.share,
        "devices": f"{jax.device_count()} x {device}",
        "hosts": hosts.count(),
    }
    if not hosts.is_first():
        return None
    first = table.first_start({"asked": asked, "plan": dataclasses.asdict(sizes), **facts})
    if first is None or hosts.count() > 1:  # which host draws what is decided as they go
        return None
    if first["plan"].keys() != dataclasses.asdict(sizes).keys():  # of another version
        return None
    begun = memory.JobSizes.from_dict(first["plan"])
    changed = config_lib.differences(first["asked"], asked)
    if begun.total_bytes > sizes.budget_bytes:
        changed.append(
            f"{sizes.budget_bytes / 2**30:.3g} GiB are free, not {begun.total_bytes / 2**30:.3g}"
        )
    if not changed:
        return begun
    log.say(
        f"{title}: goes on with other sizes ({'; '.join(changed)}): log-probabilities "
        "may differ in their last digits"
    )
    return None
