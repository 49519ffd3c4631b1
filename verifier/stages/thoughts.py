"""thoughts: what a thinker's thoughts gain at every token of held-out windows.

Each process takes its share of the windows, on its own devices.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from flax import nnx

from verifier.config import QuietConfig
from verifier.data.batches import BatchSpec
from verifier.data.windows import Windows
from verifier.model import keys, sharding
from verifier.model.thoughts import Thinker
from verifier.report.token_texts import token_texts
from verifier.run import hosts, model_folder, thinker_folder
from verifier.run.context import Context
from verifier.run.stage import Stage
from verifier.stages import corpus, quiet, table_writing
from verifier.system import log, stopping
from verifier.tables.results import Table
from verifier.text.split import HELDOUT
from verifier.text.tokenizer import Tokenizer
from verifier.train import gains
from verifier.train.gains import Gained
from verifier.train.losses import quiet as quiet_loss

THOUGHTS = Table("thoughts", "thoughts")
# Of the first token of a text.
_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("logprob_base", "logprob_talk", "mixing", "thought")),
    **{name: [] for name in ("thought_tokens", "rewards", "mixings", "entropies", "ahead_talk")},
}


def stage(thinker: Stage, texts: Stage) -> Stage:
    """Thoughts of a thinker at held-out windows, in its own place; of a decoder without thoughts
    what it predicts, to be held against.
    """
    return Stage(
        think,
        makes=THOUGHTS,
        splits=(HELDOUT,),
        reads={"thinker": thinker.of(), "corpus": texts.of(HELDOUT)},
        knobs=("seed", "quiet.report_windows", "quiet.report_thoughts", "model.dtype"),
        place=thinker.place,
    )


def think(context: Context) -> None:
    """Lets the thinker read the windows, and writes what each thought gained."""
    settings, title = context.settings(HELDOUT), context.title(HELDOUT)
    if context.is_done(settings, HELDOUT):
        return
    windows = corpus.windows(context, "corpus", context.config.quiet.report_windows)
    table = table_writing.writer(context.folder(HELDOUT), "thoughts", settings)
    table.begin()
    own = hosts.share([1] * len(windows))
    present = table.present()
    missing = [index for index in own if index not in present]
    progress = log.Progress(len(own), "window", title, done=len(own) - len(missing))
    with progress, stopping.saving():
        if missing:
            found = _read(context, windows, missing)
            table_writing.write(table, _counted(found, progress))
    kinds = context.manifest("corpus", HELDOUT)["kinds"]
    table_writing.finish(table, {"windows": len(windows), "kinds": kinds})


def _counted(
    rows: Iterator[list[dict[str, Any]]], progress: log.Progress
) -> Iterator[list[dict[str, Any]]]:
    for each in rows:
        table_writing.stop_if_asked(progress)
        progress.advance()
        yield each


def _read(
    context: Context, windows: Windows, indices: Sequence[int]
) -> Iterator[list[dict[str, Any]]]:
    """The rows of some windows, a list a window."""
    read = reader(context, windows, context.config.quiet.report_thoughts, "thoughts, held out")
    kinds = context.manifest("corpus", HELDOUT)["kinds"]
    tell = Teller(corpus.tokenizer(context, "corpus"), kinds)
    for index, gained in zip(indices, read(indices), strict=True):
        yield tell.rows(windows, index, gained)


def reader(
    context: Context, windows: Windows, thoughts: int, drawn: str
) -> Callable[[Sequence[int]], Iterator[Gained]]:
    """A function that lets the model in the role `thinker` read windows by their indices, on this
    process's own devices; it gives what `gains.of_windows` does.

    Args:
        context: of the stage.
        windows: of the corpus.
        thoughts: drawn before each token.
        drawn: name of the random numbers that they are drawn with.
    """
    mesh, seed = sharding.own_mesh(context.config.mesh), context.config.seed
    thinker, tokenizer, taught = _taught(context, mesh)
    read = gains.reader(thinker, taught, thoughts, tokenizer.vocab_size, mesh)
    targets = quiet_loss.targets(taught)
    spec = BatchSpec(sharding.groups(mesh), windows.window_tokens, targets)
    key = keys.key_of(seed, drawn)
    return functools.partial(gains.of_windows, read, windows, spec=spec, key=key)


def _taught(
    context: Context, mesh: jax.sharding.Mesh | None
) -> tuple[Thinker, Tokenizer, QuietConfig]:
    """The thinker, its tokenizer, and how it was taught to think; a decoder has no thoughts."""
    config, part, manifest = context.config, context.input("thinker"), context.manifest("thinker")
    folder, made_by, dtype = part.folder(context.root), part.stage.name, config.model.dtype
    if thinker_folder.THOUGHTS in manifest:
        saved = thinker_folder.load(folder, made_by, dtype, mesh)
        return saved.model, saved.tokenizer, quiet.thoughts_of(manifest, config.quiet)
    saved = model_folder.load(folder, made_by, dtype, mesh)
    plain = dataclasses.replace(config.quiet, thought_tokens=0)
    return Thinker(saved.model, rngs=nnx.Rngs(0)), saved.tokenizer, plain


class Teller:
    """Makes rows of the table out of what was read."""

    def __init__(self, tokenizer: Tokenizer, kinds: Sequence[str]) -> None:
        """Args: the tokenizer of the windows, and names of kinds of tokens by their numbers."""
        self._tokenizer, self._kinds = tokenizer, kinds
        self._texts = token_texts(tokenizer)

    def rows(self, windows: Windows, index: int, own: Gained) -> list[dict[str, Any]]:
        """The rows of a window.

        Args:
            windows: the corpus's.
            index: of the window.
            own: its gains, by position without B.
        """
        tokens_T, kind_T = windows[index], windows.kinds(index)
        made = []
        for piece in windows.pieces(index):
            ids = tokens_T[piece.start : piece.end].tolist()
            texts = self._texts(ids, self._tokenizer.decode(ids))
            texts = texts or [self._tokenizer.token_text(token) for token in ids]
            for place, (token, text) in enumerate(zip(ids, texts, strict=True)):
                at = piece.start + place
                about = {
                    "window": index,
                    "document": piece.document,
                    "token": piece.first + place,
                    "token_id": token,
                    "text": text,
                    "kind": self._kinds[kind_T[at]],
                }
                # What predicts a token is the position before it, in the same text.
                made.append(about | (self._gained(own, at - 1, piece.end) if place else _NOTHING))
        return made

    def _gained(self, own: Gained, position: int, end: int) -> dict[str, Any]:
        """What the thoughts behind a position gained, in a text that ends at `end`."""
        gain_PM, weight_PM = own.gain_BTPM[position], own.weight_BTPM[position]
        thoughts, ahead = gain_PM.shape
        known = min(ahead, end - 1 - position)
        base_M = own.base_BT[position : position + known]
        reward_P = gain_PM[:, :known].sum(axis=1)
        base, entropy_BTP = float(base_M[0]), own.entropy_BTP
        best_I = own.tokens_BTPI[position, int(reward_P.argmax())].tolist() if thoughts else []
        # Constant thoughts are of a token that the tokenizer does not have.
        words = [token for token in best_I if token < self._tokenizer.vocab_size]
        return {
            "logprob_base": base,
            "logprob_talk": base + float(gain_PM[:, 0].mean()) if thoughts else base,
            "mixing": float(weight_PM[:, 0].mean()) if thoughts else 0.0,
            "thought": self._tokenizer.decode(words) if thoughts else None,
            "thought_tokens": best_I,
            "rewards": reward_P if known == ahead else [],
            "mixings": weight_PM[:, 0],
            "entropies": [] if entropy_BTP is None else entropy_BTP[position],
            "ahead_talk": list(base_M + gain_PM[:, :known]),
        }
