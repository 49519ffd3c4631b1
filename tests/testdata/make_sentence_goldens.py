"""Makes the tiny sentence encoder of sentence_encoder_test and its goldens, with torch and
transformers. Knows no project.

sentence_bert: a BERT with the files of sentence-transformers beside it. golden.npz: texts, the ids
that its tokenizer gives them, and their vectors by either pooling.

Run by hand:
    python tests/testdata/make_sentence_goldens.py    # writes sentence_bert/ beside this file (the
                                                      # same bytes each time)
"""

from __future__ import annotations

import json
import shutil
import string

import numpy as np
import tokenizers
import torch
import transformers
from make_goldens import HERE, randomise
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

FOLDER = HERE / "sentence_bert"
MOST_TOKENS = 24
WORDS = ("tom", "has", "box", "##es", "of", "pen", "##s", "less", "how", "many", "left", "12")
LETTERS = string.ascii_lowercase + string.digits
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TEXTS = (
    "Tom has 3 boxes of 12 pens.",
    "How many pens are left?",
    "",
    "3*12=<<3*12=36>>36 pens",
    "Naïve café – a sign that no vocabulary has: ☃",
    "pens " * 40,
    "\tTOM   has\n12",
)


def tokenizer() -> tokenizers.Tokenizer:
    """A WordPiece tokenizer as BERT's, of small letters."""
    pieces = [*SPECIAL, *string.punctuation, *LETTERS, *(f"##{each}" for each in LETTERS), *WORDS]
    vocabulary = {piece: place for place, piece in enumerate(dict.fromkeys(pieces))}
    made = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(each, vocabulary[each]) for each in ("[CLS]", "[SEP]")],
    )
    made.decoder = decoders.WordPiece()
    made.add_special_tokens(list(SPECIAL))
    # As published ones have it: sentence-transformers sets its own in their place.
    made.enable_truncation(9)
    made.enable_padding(length=9)
    return made


def write() -> None:
    """The folder, but for its golden."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    made = tokenizer()
    config = transformers.BertConfig(
        vocab_size=made.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=30,
    )
    model = transformers.BertModel(config)
    randomise(model, seed=0)
    model.save_pretrained(FOLDER)
    made.save(str(FOLDER / "tokenizer.json"))
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    others = {
        "tokenizer_config.json": {
            "tokenizer_class": "BertTokenizer",
            "model_max_length": 30,
        },
        "sentence_bert_config.json": {"max_seq_length": MOST_TOKENS, "do_lower_case": False},
        "modules.json": [
            {
                "idx": place,
                "name": str(place),
                "path": path,
                "type": f"sentence_transformers.models.{kind}",
            }
            for place, (path, kind) in enumerate(kinds.items())
        ],
        "1_Pooling/config.json": {
            "word_embedding_dimension": 32,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
        },
    }
    for name, content in others.items():
        path = FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")


def write_golden() -> None:
    """Vectors as sentence-transformers makes them: of all texts in one padded batch."""
    reads = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(FOLDER / "tokenizer.json"),
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=False)),
    )
    model = transformers.AutoModel.from_pretrained(FOLDER, attn_implementation="eager").eval()
    batch = reads(
        list(TEXTS), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).last_hidden_state
    seen = batch["attention_mask"][..., None].float()
    pooled = {"mean": (hidden * seen).sum(1) / seen.sum(1), "cls": hidden[:, 0]}
    np.savez_compressed(
        FOLDER / "golden.npz",
        texts=np.array(TEXTS),
        tokens=batch["input_ids"].numpy().astype(np.int32),
        lengths=batch["attention_mask"].sum(1).numpy().astype(np.int32),
        **{
            name: torch.nn.functional.normalize(each, dim=1).numpy()
            for name, each in pooled.items()
        },
    )


if __name__ == "__main__":
    write()
    write_golden()
