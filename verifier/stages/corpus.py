"""corpus: texts, made into tokens once and kept as windows on disk."""

from __future__ import annotations

import hashlib
import itertools
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from verifier import config as config_lib
from verifier.config import Config
from verifier.data.windows import Windows, WindowWriter
from verifier.errors import ConfigError, DataError, WorkdirError
from verifier.run import inputs
from verifier.run.context import Context
from verifier.run.stage import Files, Stage
from verifier.stages import base_model
from verifier.system import checksums, log, paths
from verifier.tables.manifests import MANIFEST
from verifier.tables.results import Corpus
from verifier.tasks.corpus import Document, stream_corpus
from verifier.tasks.generated_texts import EASY, HARD, OPENING, STEP, generated_texts
from verifier.text import tokenizer as tokenizer_lib
from verifier.text.split import HELDOUT, TRAIN
from verifier.text.tokenizer import Tokenizer

CORPUS = Corpus("corpus", "corpus")
GENERATED = "generated"
KINDS = ("", HARD, EASY, OPENING, STEP)  # of tokens, by what `data.windows` writes
_TOKENIZER_TEXTS = 20_000  # from which a tokenizer is trained, where none is given
_TOLD = 100_000  # documents, after which a line says how far it is
_KNOBS = ("corpus", "generated_documents", "generated_worked", "heldout_share", "tokens")


def stage(config: Config) -> Stage:
    """The training and the held-out documents of `quiet.corpus`, in the tokens of the base."""
    return Stage(
        write,
        makes=CORPUS,
        splits=(TRAIN, HELDOUT),
        reads={
            "corpus": Files("quiet.corpus", names=(GENERATED,)),
            "weights": Files("model.weights"),
            "tokenizer": Files("tokenizer.path"),
        },
        knobs=("seed", "tokenizer", "model.weights", *(f"quiet.{name}" for name in _KNOBS)),
        check=check,
        by_one=True,
    )


def check(config: Config) -> None:
    """Raises UserError where no corpus is named, or none is there."""
    named = config.quiet.corpus
    if named != GENERATED and not (named and paths.local(named).exists()):
        raise ConfigError(
            f"quiet.corpus={named!r} is not there; expected a text file (one document a line), a "
            f".jsonl with a field 'text', a folder of them, or {GENERATED}"
        )
    if config.pretrain.corpus:
        raise ConfigError(
            f"pretrain.corpus={config.pretrain.corpus!r} is not read here: name the texts in "
            "quiet.corpus"
        )


def windows(context: Context, role: str, most: int = 0, **more: Any) -> Windows:
    """The windows that a stage reads in a role, which are those that were written; arguments as
    `Windows` has them.

    Raises:
        Damaged: a file has changed since.
    """
    folder, manifest = context.source(role), context.manifest(role)
    checksums.check(folder, manifest["files"], f"remove {folder} to make it anew")
    return Windows(folder, manifest, most, **more)


def tokenizer(context: Context, role: str) -> Tokenizer:
    """Whose tokens they are."""
    return tokenizer_lib.load_tokenizer(context.source(role))


def write(context: Context) -> None:
    """Writes both splits, in one pass over the documents.

    Raises:
        DataError: no document of a split, or fewer tokens than a window.
        WorkdirError: the workdir lies behind an object store.
    """
    settings = context.settings()
    done = [context.is_done(settings, split) for split in (TRAIN, HELDOUT)]
    if all(done):
        return
    if paths.is_remote(context.root):
        raise WorkdirError(
            f"--workdir={context.root}: windows are read from disk in any order, which no object "
            "store can; name a folder of this machine"
        )
    begun, config = time.monotonic(), context.config
    own = _tokenizer(config)
    with (
        WindowWriter(context.folder(TRAIN), config.quiet.tokens) as train,
        WindowWriter(context.folder(HELDOUT), config.quiet.tokens) as heldout,
    ):
        for number, document in enumerate(_documents(config)):
            if number and number % _TOLD == 0:
                log.say(f"{context.title()}: {number:,} documents so far")
            writer = heldout if _is_held_out(document, config.quiet.heldout_share) else train
            writer.add(*_encoded(document, own))
        _refuse_too_few(config.quiet, train, heldout)
    facts = {
        "settings": settings,
        "inputs": inputs.sums(config, context.stage.named(config)),
        "kinds": list(KINDS),
        "seconds": time.monotonic() - begun,
    }
    for split, writer in ((HELDOUT, heldout), (TRAIN, train)):
        _finish(context.folder(split), own, writer, {**facts, "window_tokens": config.quiet.tokens})
    log.say(
        f"{context.title()}: {train.documents:,} documents of {train.tokens:,} tokens in "
        f"{train.windows:,} windows of {config.quiet.tokens}, {heldout.documents:,} held out in "
        f"{heldout.windows:,}"
    )


def _tokenizer(config: Config) -> Tokenizer:
    """The tokenizer that the settings name; a SentencePiece model without a path is trained on the
    first documents.
    """
    named = config.tokenizer.path or config.model.weights
    if config.tokenizer.kind == "sentencepiece" and not named:
        texts = (each.text for each in itertools.islice(_documents(config), _TOKENIZER_TEXTS))
        return tokenizer_lib.train_sentencepiece(texts, config.tokenizer.vocab_size)
    return base_model.tokenizer_of(config, [])


def _documents(config: Config) -> Iterator[Document]:
    quiet = config.quiet
    if quiet.corpus == GENERATED:
        return generated_texts(quiet.generated_documents, quiet.generated_worked, config.seed)
    return (Document(text) for text in stream_corpus(paths.local(quiet.corpus)))


def _is_held_out(document: Document, share: float) -> bool:
    """The same text is always on the same side, however often it stands there."""
    digest = hashlib.sha256(f"heldout/{document.text}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _encoded(document: Document, own: Tokenizer) -> tuple[list[int], Sequence[int]]:
    """The ids of a text and the end token, and of each which kind of text it is part of."""
    start = list(own.start_ids)
    if not document.spans:
        return [*start, *own.encode(document.text), own.end_id], ()
    ids, places = own.encode_with_spans(document.text)
    kinds = [0] * len(ids)
    for index, (first, last) in enumerate(places):
        for span in document.spans:
            if span.start <= first < last <= span.end:
                kinds[index] = KINDS.index(span.kind)
    return [*start, *ids, own.end_id], [*[0] * len(start), *kinds, 0]


def _refuse_too_few(
    config: config_lib.QuietConfig, train: WindowWriter, heldout: WindowWriter
) -> None:
    """Raises DataError before anything takes its name."""
    if train.tokens < config.tokens:
        raise DataError(
            f"quiet.corpus={config.corpus!r} has {train.tokens:,} tokens to learn from (beside "
            f"{heldout.tokens:,} held out), fewer than a window of quiet.tokens={config.tokens}; "
            "name a larger corpus or set quiet.tokens lower"
        )
    if not heldout.documents:
        raise DataError(
            f"none of {train.documents:,} documents of quiet.corpus={config.corpus!r} is held out "
            f"with quiet.heldout_share={config.heldout_share}; set it higher, or name a corpus of "
            "more documents"
        )


def _finish(
    folder: pathlib.Path, own: Tokenizer, writer: WindowWriter, facts: dict[str, Any]
) -> None:
    """The tokenizer beside the windows, and the manifest, which is written last."""
    own.save(folder)
    counts = {name: getattr(writer, name) for name in ("windows", "documents", "tokens")}
    names = [path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST]
    sums = checksums.of_files(folder, names)
    manifest = {"id": Windows(folder, {**counts, **facts}).id(), **counts, **facts, "files": sums}
    checksums.write_sealed(folder / MANIFEST, manifest)
