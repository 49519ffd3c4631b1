"""A solution's score out of the verifier's values at its tokens: last, mean, min, product, last line. Knows tokens, no votes and no file.

Cobbe et al. 2021 rank by the value at the last token (read so by Lightman et al. 2023, 2305.20050, appendix E), Lightman et al. by the
product, or the minimum, over a solution's steps; here every token is a step. Which is best is a choice, and is made on held-out problems.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from verifier.config import UserError
from verifier.evaluate import rank
from verifier.evaluate.calibration import calibration
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.intervals import Bootstrap
from verifier.evaluate.tables import SplitRows
from verifier.text.tokenizer import Tokenizer

AGGREGATIONS = ("last", "mean", "min", "product", "last_line")
_FLOOR = 1e-6  # a value that counts in a product at least: squared error gives values below 0, and one of them must not make all equal
_COMPARED = 16  # solutions on which a tokenizer is held against the stored text


class AggregationError(UserError):
    """Token values cannot be put together as asked; the message says what is missing."""


class Scores(NamedTuple):
    """score_R: [rows] float64, NaN where a row has no token values; log_R: their logarithms where they are products."""

    score_R: np.ndarray
    log_R: np.ndarray | None = None


def aggregate(value_N: np.ndarray, length_R: np.ndarray, how: str, last_line_N: np.ndarray | None = None) -> Scores:
    """One score a solution.

    Args:
        value_N: values of all tokens, solution after solution.
        length_R: tokens of each solution.
        how: `last`; `mean`; `min`; `product` of values, each clipped to [1e-6, 1], as a sum of logarithms; `last_line`: mean over the
            tokens of the last line.
        last_line_N: which tokens write the last line (`in_last_line`), for `last_line` alone.

    Returns:
        Scores; a NaN among a solution's values makes its score NaN.
    """
    there_R = length_R > 0
    start = (np.cumsum(length_R) - length_R)[there_R]
    log_R = None
    if not len(start):
        none_R = np.full(len(length_R), np.nan)
        return Scores(none_R, none_R if how == "product" else None)
    if how == "last":
        found = value_N[start + length_R[there_R] - 1]
    elif how == "mean":
        found = np.add.reduceat(value_N, start, dtype=np.float64) / length_R[there_R]
    elif how == "min":
        found = np.minimum.reduceat(value_N, start)
    elif how == "product":
        log = np.add.reduceat(np.log(np.clip(value_N.astype(np.float64), _FLOOR, 1.0)), start)
        found, log_R = np.exp(log), _spread(log, there_R)
    else:
        assert how == "last_line" and last_line_N is not None, how
        count = np.add.reduceat(last_line_N, start, dtype=np.int64)
        found = np.add.reduceat(np.where(last_line_N, value_N, 0.0), start, dtype=np.float64) / count
    return Scores(_spread(found, there_R), log_R)


def in_last_line(token_N: np.ndarray, length_R: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Which tokens write the last line of their solution that is not blank, with all that follows it (line ends, the end token).

    A token that ends one line and begins the next counts as of the next if it writes anything but blanks of it.

    Args:
        token_N: ids of all tokens, solution after solution.
        length_R: tokens of each solution.
        tokenizer: theirs.

    Returns:
        [N] bool; every token of a solution that is all blank.
    """
    ids, code_N = np.unique(token_N, return_inverse=True)
    texts = [tokenizer.token_text(int(token)) for token in ids]
    writes_N = np.array([bool(text.strip()) for text in texts], bool)[code_N]
    ends_line_N = np.array(["\n" in text for text in texts], bool)[code_N]
    begins_N = np.array([bool(text.rpartition("\n")[2].strip()) for text in texts], bool)[code_N]
    inner_N = np.array(["\n" in text.rstrip() for text in texts], bool)[code_N]  # what it writes at its end is all of a new line
    there = length_R > 0
    start_R, row_N, place_N = np.cumsum(length_R) - length_R, np.repeat(np.arange(len(length_R)), length_R), np.arange(len(token_N))
    if not there.any():
        return np.zeros(len(token_N), bool)
    content_R = _spread(np.maximum.reduceat(np.where(writes_N, place_N, -1), start_R[there]), there, -1)
    before_N = ends_line_N & (place_N < content_R[row_N])
    break_R = _spread(np.maximum.reduceat(np.where(before_N, place_N, -1), start_R[there]), there, -1)
    after_R = np.where(break_R < 0, start_R, np.where(begins_N[break_R], break_R, break_R + 1))
    first_R = np.where(content_R < 0, start_R, np.where(inner_N[content_R], content_R, after_R))
    return place_N >= first_R[row_N]


def scores_of(split: SplitRows, how: str, tokenizer: Tokenizer | None) -> Scores:
    """Scores of the rows of a split.

    Args:
        split: rows with `token_scores`, for `last_line` with `tokens` too.
        how: one of AGGREGATIONS but `last`, which the ranking has already.
        tokenizer: of the tokens, for `last_line`.

    Raises:
        AggregationError: the token values, the tokens or the tokenizer are missing or do not fit each other.
    """
    needed = ("token_scores", "tokens") if how == "last_line" else ("token_scores",)
    for name in needed:
        if name not in split.rows.column_names:
            there = ", ".join(split.rows.column_names)
            raise AggregationError(
                f"aggregation={how} needs `{name}`, which these samples and scores do not have; there are {there}: take tables with "
                "it, such as a workdir's own, or aggregation=last"
            )
    value_N, length_R = ragged(split.rows["token_scores"])
    if how != "last_line":
        return aggregate(value_N, length_R, how)
    if tokenizer is None:
        raise AggregationError(
            "aggregation=last_line needs the tokenizer of the samples' tokens, to know which of them write the last line; there is none in "
            "the workdir's generator/ or verifier/: name one by --tokenizer=PATH (rerank), or take another aggregation"
        )
    token_N, tokens_R = ragged(split.rows["tokens"])
    if not np.array_equal(tokens_R, length_R):
        row = int(np.nonzero(tokens_R != length_R)[0][0])
        raise AggregationError(
            f"aggregation=last_line: row {row + 1} has {tokens_R[row]} tokens and {length_R[row]} token scores; expected as many: "
            "score these samples again"
        )
    _refuse_other_tokenizer(split, token_N, tokenizer)
    return aggregate(value_N, length_R, how, in_last_line(token_N, length_R, tokenizer))


def check_aggregation(how: str) -> None:
    """Raises AggregationError with the nearest names if there is no such aggregation."""
    if how not in AGGREGATIONS:
        near = difflib.get_close_matches(how, AGGREGATIONS, n=2, cutoff=0.4) or list(AGGREGATIONS)
        raise AggregationError(f"there is no aggregation {how!r}; nearest: {', '.join(near)}; all: {', '.join(AGGREGATIONS)}")


def applied(split: SplitRows, how: str, tokenizer: Tokenizer | None) -> SplitRows:
    """The split, ranked by another aggregation; a split without scores stays as it is.

    Raises:
        AggregationError: as `scores_of`.
        CandidatesError: the score of a sample is NaN.
    """
    if how == "last" or split.candidates.score_PJ is None:
        return split
    return dataclasses.replace(split, candidates=split.candidates.reranked(*scores_of(split, how, tokenizer)))


def compare(splits: Mapping[str, SplitRows], tokenizer: Tokenizer | None, resamples: int, seed: int) -> dict[str, dict[str, Any] | None]:
    """Best-of-n, the weighted vote and the AUROC within problems under every aggregation, by split; None for a split without scores.

    Args:
        splits: ranked by the stored score, which is `last`.
        tokenizer: of the tokens; None leaves `last_line` out.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        For every split and aggregation `best_of_n`, its paired `difference_to_last`, `weighted_vote` and `auroc_within_problem`; None where
        the rows do not have what it needs.
    """
    out: dict[str, dict[str, Any] | None] = {}
    for name, split in splits.items():
        if split.candidates.score_PJ is None:
            out[name] = None
            continue
        bootstrap = Bootstrap.draw(len(split.candidates.count_P), resamples, seed)
        last_P = rank.best_of_n(split.candidates).correct_P
        out[name] = {how: _figures(_ranked(split, how, tokenizer), last_P, bootstrap) for how in AGGREGATIONS}
    return out


def chosen(heldout: Mapping[str, Any] | None, test: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The aggregation whose best-of-n is best on held-out problems, of equals the first of AGGREGATIONS, and what it reaches elsewhere.

    Args:
        heldout: of the split `heldout`, as in `compare`; None where there is none.
        test: of the split that is reported on; it has no say.
    """
    if not heldout or not test:
        return None
    known = [how for how in AGGREGATIONS if heldout[how] and test[how]]
    name = max(known, key=lambda how: heldout[how]["best_of_n"]["value"])
    return {"aggregation": name, "heldout_accuracy": heldout[name]["best_of_n"]["value"], **test[name]}


def ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A list column as all its values one after the other [N] and the length of each list [rows]; a missing list is an empty one."""
    length_R = pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.int64)
    return pc.list_flatten(column).to_numpy(), length_R


def _ranked(split: SplitRows, how: str, tokenizer: Tokenizer | None) -> Candidates | None:
    """None where the rows do not have what this aggregation needs."""
    try:
        found = Scores(np.empty(0)) if how == "last" else scores_of(split, how, tokenizer)
    except AggregationError:
        return None
    if how == "last":
        return split.candidates
    return None if np.isnan(found.score_R).any() else split.candidates.reranked(*found)


def _figures(candidates: Candidates | None, last_P: np.ndarray, bootstrap: Bootstrap) -> dict[str, Any] | None:
    if candidates is None:
        return None
    best_P = rank.best_of_n(candidates).correct_P.astype(np.float64)
    columns = {"best_of_n": best_P, "difference_to_last": best_P - last_P, "weighted_vote": rank.weighted_vote(candidates).correct_P}
    return {**bootstrap.estimates(columns), "auroc_within_problem": calibration(candidates)["auroc_within_problem"]}


def _refuse_other_tokenizer(split: SplitRows, token_N: np.ndarray, tokenizer: Tokenizer) -> None:
    """Holds a few solutions' text against what the tokenizer makes of their tokens."""
    strange = token_N[(token_N < 0) | (token_N >= tokenizer.vocab_size)]
    way_out = "name that of the samples' generator by --tokenizer=PATH (rerank), or take another aggregation"
    if len(strange):
        raise AggregationError(f"token {strange[0]} is beyond this tokenizer's {tokenizer.vocab_size:,}: it is another one; {way_out}")
    for row in np.unique(np.linspace(0, len(split.rows) - 1, min(_COMPARED, len(split.rows))).astype(np.int64)).tolist():
        text = split.rows["solution"][row].as_py()
        decoded = tokenizer.decode(split.rows["tokens"][row].as_py())
        if decoded != text:
            raise AggregationError(
                f"the tokens of row {row + 1} read {decoded[:60]!r}, its solution {text[:60]!r}: another tokenizer; {way_out}"
            )


def _spread(found: np.ndarray, there_R: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """Values of the rows that have any, among all rows; `fill` elsewhere."""
    out_R = np.full(len(there_R), fill)
    out_R[there_R] = found
    return out_R
