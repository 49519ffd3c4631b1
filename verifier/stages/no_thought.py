"""teach, and finetune without thoughts: a decoder learns to do at once what the last thinker does
with its thoughts (Fast Quiet-STaR, Huang et al. 2025, section 3.3).
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from verifier import config as config_lib
from verifier.config import Config
from verifier.data.windows import Windows
from verifier.errors import Stopped, WorkdirError
from verifier.run import thinker_folder
from verifier.run.context import Context
from verifier.run.stage import Job, Stage
from verifier.stages import corpus, existing_models, fitting, quiet, thoughts
from verifier.stages.fitting import Examples
from verifier.system import atomic, checksums, log, stopping
from verifier.tables.manifests import MANIFEST
from verifier.tables.results import GENERATOR, Corpus
from verifier.text.split import HELDOUT, TRAIN
from verifier.train.losses import no_thought as no_thought_loss
from verifier.train.losses.contract import Loss

TAUGHT = Corpus("taught", "teach")
PLACE = "no_thought"
PART = 64  # windows, which a kill costs at most
_BEGUN = "unfinished.json"
_TARGET = "teacher_loss"


def teacher(texts: Stage, thinker: Stage) -> Stage:
    """What a thinker loses on each token of some training windows, one thought a token."""
    return Stage(
        _teach,
        makes=TAUGHT,
        splits=(TRAIN,),
        reads={"thinker": thinker.of(), "corpus": texts.of(TRAIN)},
        knobs=("seed", "model.dtype", "quiet.no_thought_windows"),
        place=PLACE,
        by_one=True,
    )


def student(texts: Stage, taught: Stage, start: Stage) -> Stage:
    """The decoder of `start`, which learns on the windows that a thinker has read."""
    own = ("policy_weight", "reinforce_temperature", "marks_like", "embedding_scale", "tokens")
    further = ("steps", "windows", "start", "token")
    return Stage(
        _learn,
        makes=GENERATOR,
        reads={
            "start": start.of(),
            "taught": taught.of(TRAIN),
            "corpus": texts.of(TRAIN, noted=False),  # the taught follows from it
            "heldout_corpus": texts.of(HELDOUT, noted=False),
        },
        knobs=(
            *("seed", "model.dtype", "finetune", "quiet.watched_windows"),
            *(f"quiet.{name}" for name in own),
            *(f"quiet.no_thought_{name}" for name in further),
        ),
        place=PLACE,
        jobs=(_StudentJob("finetune", "train", loss=_loss, thoughts=_none, windows=True),),
    )


@dataclasses.dataclass(frozen=True)
class _StudentJob(Job):
    def section(self, config: Config) -> config_lib.TrainConfig:
        quiet = config.quiet
        how: dict[str, Any] = {"steps": quiet.no_thought_steps, "row_tokens": quiet.tokens}
        return dataclasses.replace(config.finetune, **how)


def _none(config: Config) -> config_lib.QuietConfig:
    """How the student thinks."""
    return dataclasses.replace(config.quiet, thought_tokens=0)


def _loss(config: Config, vocab_size: int) -> Loss:
    return no_thought_loss.loss(vocab_size, config.quiet)


def _teach(context: Context) -> None:
    """Lets the thinker read the windows, in parts that are kept.

    Raises:
        WorkdirError: parts of another thinker or other windows are there.
    """
    settings, begun = context.settings(TRAIN), time.monotonic()
    if context.is_done(settings, TRAIN):
        return
    folder, title = context.folder(TRAIN), context.title(TRAIN)
    windows = corpus.windows(context, "corpus", context.config.quiet.no_thought_windows)
    _claim(folder, settings)
    names = _parts(len(windows))
    missing = [number for number, name in enumerate(names) if not (folder / name).is_file()]
    progress = log.Progress(len(names), "part", title, done=len(names) - len(missing))
    with progress, stopping.saving():
        for number, losses_WT in _read(context, windows, missing):
            atomic.write_bytes(folder / names[number], losses_WT.tobytes())
            progress.advance()
            if stopping.asked():
                raise Stopped(f"{title} at {progress.done:,} of {len(names):,} parts")
    sums = checksums.of_files(folder, names)
    facts = {"id": checksums.id_of(sums), "settings": settings, "windows": len(windows)}
    facts |= {"files": sums, "seconds": time.monotonic() - begun}
    checksums.write_sealed(folder / MANIFEST, facts)
    (folder / _BEGUN).unlink(missing_ok=True)


def _parts(windows: int) -> list[str]:
    return [f"losses-{number:05d}.bin" for number in range(-(-windows // PART))]


def _claim(folder: pathlib.Path, settings: dict[str, Any]) -> None:
    """Notes whose parts are written, or refuses those of others."""
    path = folder / _BEGUN
    if path.is_file():
        there = checksums.read_sealed(path, f"remove {folder} to start anew")["settings"]
        if changed := config_lib.differences(there, settings):
            raise WorkdirError(
                f"{folder} was begun with other settings: {'; '.join(changed)}; go on with the "
                "old ones, or remove the folder to start anew"
            )
    checksums.write_sealed(path, {"settings": settings})


def _read(
    context: Context, windows: Windows, parts: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """The losses of each part that is asked for, float32 [its windows, T]."""
    read = thoughts.reader(context, windows, 1, "teach")
    for number in parts:
        indices = range(number * PART, min((number + 1) * PART, len(windows)))
        losses = [
            -(own.base_BT + (own.gain_BTPM[:, 0, 0] if own.gain_BTPM.size else 0.0))
            for own in read(indices)
        ]
        yield number, np.stack(losses).astype(np.float32)


def _learn(context: Context) -> None:
    config = context.config
    if context.is_done(context.settings()):
        return
    begun = time.monotonic()
    saved = existing_models.loaded(context, "start")
    saved = saved._replace(model=quiet.new_thinker(config, saved.model, saved.tokenizer))
    own = {"thought_tokens": 0, "ahead": 1, "thought_source": "drawn", "mixing": "hidden"}
    facts = {"weights": saved.manifest.get("weights", {}), thinker_folder.THOUGHTS: own}
    examples = Examples(
        corpus.windows(
            context,
            "corpus",
            config.quiet.no_thought_windows,
            beside={_TARGET: _taught(context)},
        ),
        corpus.windows(context, "heldout_corpus", config.quiet.watched_windows),
    )
    fitting.fit_further(context, saved, examples, facts, begun)


def _taught(context: Context) -> np.ndarray:
    """What the thinker has lost, [windows, T]."""
    folder, manifest = context.source("taught"), context.manifest("taught")
    checksums.check(folder, manifest["files"], f"remove {folder} to make it anew")
    parts = [np.fromfile(folder / name, np.float32) for name in sorted(manifest["files"])]
    return np.concatenate(parts).reshape(manifest["windows"], -1)
