"""A small tokenizer made as T5's are: a unigram model without newline, `<` or brace."""

import io
import json
import pathlib

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

GAPS = 4


def model(texts: list[str]) -> bytes:
    """A *.model with T5's settings, trained on texts."""
    lacking = str.maketrans(dict.fromkeys("<{}~\\^`\n", " "))
    letters = "".join(map(chr, range(33, 127))).translate(lacking)
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*(text.translate(lacking) for text in texts), *letters.split()]),
        model_writer=made,
        model_type="unigram",
        vocab_size=160,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return made.getvalue()


def as_model(folder: pathlib.Path, texts: list[str]) -> pathlib.Path:
    """spiece.model and what lies beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "spiece.model").write_bytes(model(texts))
    settings = {"eos_token": "</s>", "extra_ids": GAPS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def as_json(folder: pathlib.Path, texts: list[str]) -> pathlib.Path:
    """The same as a tokenizer.json, as transformers converts it."""
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model(texts))
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    gaps = [f"<extra_id_{number}>" for number in reversed(range(GAPS))]
    made = tokenizers.Tokenizer(
        models.Unigram([*pieces, *((gap, 0.0) for gap in gaps)], 2, byte_fallback=False)
    )
    made.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=True),
        ]
    )
    made.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always", split=True)
    made.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)]
    )
    made.add_special_tokens(["<pad>", "</s>", "<unk>", *gaps])
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return folder
