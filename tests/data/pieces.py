"""A tokenizer whose pieces are given, for alignments that can be checked by hand."""

from __future__ import annotations

import numpy as np

from verifier.data.alignment import Taught


class Pieces:
    """Writes the longest piece that fits; a piece `<0xNN>` is that byte, the last one the end."""

    start_ids = ()

    def __init__(self, *pieces):
        self.pieces = [*pieces, "</end>"]
        self.vocab_size = self.reserved_id = len(self.pieces)
        self.end_id = len(pieces)

    def piece(self, token):
        return self.pieces[token]

    def piece_bytes(self, token):
        piece = self.pieces[token]
        if token == self.end_id:
            return b""
        return bytes.fromhex(piece[3:5]) if piece.startswith("<0x") else piece.encode()

    def encode(self, text):
        left, ids = text.encode(), []
        while left:
            fits = [n for n in range(self.end_id) if left.startswith(self.piece_bytes(n))]
            ids.append(max(fits, key=lambda n: (len(self.piece_bytes(n)), -len(self.piece(n)))))
            left = left[len(self.piece_bytes(ids[-1])) :]
        return ids

    def decode(self, ids):
        return b"".join(map(self.piece_bytes, ids)).decode("utf-8", "replace")

    def token_text(self, token):
        return self.decode([token])


def taught(tokenizer, ids, seed=0, alternatives=4):
    """A made-up teacher's solution: of each token the likeliest ids, itself among them."""
    rng, ids = np.random.default_rng(seed), np.array(ids, np.int32)
    alternatives = min(alternatives, tokenizer.vocab_size)
    top_ids = np.array(
        [
            [token, *rng.permutation(np.delete(np.arange(tokenizer.vocab_size), token))][
                :alternatives
            ]
            for token in ids
        ],
        np.int32,
    ).reshape(len(ids), alternatives)
    chances = rng.dirichlet(np.ones(alternatives + 1), len(ids))[:, :alternatives]
    top_logprobs = np.log(chances).astype(np.float32)
    return Taught(ids, top_logprobs[:, 0], top_ids, top_logprobs)
