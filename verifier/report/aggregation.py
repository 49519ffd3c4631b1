"""A solution's score out of the values at its tokens: last, mean, min, product, last line.

Cobbe et al. 2021 rank by the value at the last token (read so by Lightman et al. 2023, 2305.20050,
appendix E), Lightman et al. by the product, or the minimum, over a solution's steps; here every
token is a step. Which is best is a choice, and is made on held-out problems.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from verifier.config import choices
from verifier.errors import AggregationError
from verifier.evaluate import rank
from verifier.evaluate.calibration import are_probabilities, auroc_within_problems
from verifier.evaluate.candidates import Candidates
from verifier.evaluate.intervals import Bootstrap, Estimate
from verifier.tables import token_values
from verifier.tables.columns import ROW
from verifier.tables.split_rows import SCORE_ROW, SplitRows
from verifier.tables.token_values import COUNT, Scores, aggregate, over_rows, ragged
from verifier.text.split import Split
from verifier.text.tokenizer import Tokenizer

AGGREGATIONS = choices("report.aggregation")
_COMPARED = 16  # solutions on which a tokenizer is held against the stored text
_WAY_OUT = (
    "name that of the samples' generator by --tokenizer=PATH (rerank), or take another aggregation"
)


def in_last_line(token_N: np.ndarray, length_R: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Which tokens write the last line of their solution that is not blank.

    All that follows that line (line ends, the end token) counts with it.

    A token that ends one line and begins the next counts as of the next if it writes anything but
    blanks of it.

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
    # What it writes at its end is all of a new line.
    inner_N = np.array(["\n" in text.rstrip() for text in texts], bool)[code_N]
    start_R = np.cumsum(length_R) - length_R
    row_N = np.repeat(np.arange(len(length_R)), length_R)
    position_N = np.arange(len(token_N))
    if not length_R.any():
        return np.zeros(len(token_N), bool)
    content_R = over_rows(np.maximum, np.where(writes_N, position_N, -1), length_R, fill=-1)
    before_N = ends_line_N & (position_N < content_R[row_N])
    break_R = over_rows(np.maximum, np.where(before_N, position_N, -1), length_R, fill=-1)
    after_R = np.where(break_R < 0, start_R, np.where(begins_N[break_R], break_R, break_R + 1))
    first_R = np.where(content_R < 0, start_R, np.where(inner_N[content_R], content_R, after_R))
    return position_N >= first_R[row_N]


def scores_of(split: SplitRows, how: str, tokenizer: Tokenizer | None) -> Scores:
    """Scores of the rows of a split.

    Args:
        split: rows with `token_scores`, for `last_line` with `tokens` too.
        how: one of AGGREGATIONS but `last`, which the ranking has already.
        tokenizer: of the tokens, for `last_line`.

    Raises:
        AggregationError: the token values, the tokens or the tokenizer are missing or do not fit
            each other.
    """
    needed = {
        "token_scores": COUNT in split.rows.column_names,
        "tokens": how != "last_line" or "tokens" in split.texts.names,
    }
    for name, known in needed.items():
        if not known:
            raise AggregationError(
                f"aggregation={how} needs `{name}`, which these samples and scores do not "
                f"have; there are {', '.join(split.names)}: take tables with it, such as a "
                "workdir's own, or aggregation=last"
            )
    if how != "last_line":
        return token_values.kept(split.rows, how)
    if tokenizer is None:
        raise AggregationError(
            "aggregation=last_line needs the tokenizer of the samples' tokens, to know which "
            "of them write the last line; there is none in the workdir's generator/ or "
            "verifier/: name one by --tokenizer=PATH (rerank), or take another aggregation"
        )
    return Scores(_last_line_scores(split, tokenizer))


def _last_line_scores(split: SplitRows, tokenizer: Tokenizer) -> np.ndarray:
    """[rows] the mean value in the last line, tokens and values read piece by piece."""
    assert split.values is not None  # there are token values
    token_row_R, value_row_R = split.rows[ROW].to_numpy(), split.rows[SCORE_ROW].to_numpy()

    def of_tokens(piece: pa.Table, _: int) -> np.ndarray:
        token_N, length_R = ragged(piece["tokens"])
        _refuse_other_ids(token_N, tokenizer)
        last_N = in_last_line(token_N, length_R, tokenizer)
        return np.stack([length_R, over_rows(np.add, last_N, length_R, np.int64, fill=0)])

    length_R, last_R = np.concatenate(list(split.texts.pieces(["tokens"], of_tokens)), axis=1)[
        :, token_row_R
    ]
    values_R = split.rows[COUNT].to_numpy()
    if not np.array_equal(length_R, values_R):
        row = int(np.nonzero(length_R != values_R)[0][0])
        raise AggregationError(
            f"aggregation=last_line: row {row + 1} has {length_R[row]} tokens and "
            f"{values_R[row]} token scores; expected as many: score these samples again"
        )
    _refuse_other_tokenizer(split, tokenizer)
    # By row of the scores; those of no sample may have any.
    last_S = np.ones(split.values.rows, np.int64)
    last_S[value_row_R] = last_R

    def of_values(piece: pa.Table, first: int) -> np.ndarray:
        value_N, length_R = ragged(piece["token_scores"])
        before_R = np.cumsum(length_R) - np.minimum(last_S[first : first + len(piece)], length_R)
        in_last_N = np.arange(len(value_N)) >= np.repeat(before_R, length_R)
        return aggregate(value_N, length_R, "last_line", in_last_N).score_R

    return np.concatenate(list(split.values.pieces(["token_scores"], of_values)))[value_row_R]


def check_aggregation(how: str) -> None:
    """Raises AggregationError with the nearest names if there is no such aggregation."""
    if how not in AGGREGATIONS:
        near = difflib.get_close_matches(how, AGGREGATIONS, n=2, cutoff=0.4) or list(AGGREGATIONS)
        raise AggregationError(
            f"there is no aggregation {how!r}; nearest: {', '.join(near)}; all: "
            f"{', '.join(AGGREGATIONS)}"
        )


def applied(split: SplitRows, how: str, tokenizer: Tokenizer | None) -> SplitRows:
    """The split, ranked by another aggregation; a split without scores stays as it is.

    Raises:
        AggregationError: as `scores_of`.
        CandidatesError: the score of a sample is NaN or infinite.
    """
    if how == "last" or split.candidates.score_C is None:
        return split
    return dataclasses.replace(
        split, candidates=split.candidates.reranked(*scores_of(split, how, tokenizer))
    )


def compare(
    splits: Mapping[Split, SplitRows], tokenizer: Tokenizer | None, resamples: int, seed: int
) -> dict[Split, dict[str, Any] | None]:
    """Best-of-n, the weighted vote and the AUROC within problems under every aggregation.

    By split; None for a split without scores.

    Args:
        splits: ranked by the stored score, which is `last`.
        tokenizer: of the tokens; None leaves `last_line` out.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        For every split and aggregation `best_of_n`, its paired `difference_to_last`,
        `weighted_vote` and `auroc_within_problem`; None where the rows do not have what it needs.
    """
    out: dict[Split, dict[str, Any] | None] = {}
    for name, split in splits.items():
        if split.candidates.score_C is None:
            out[name] = None
            continue
        bootstrap = Bootstrap.draw(len(split.candidates.count_P), resamples, seed)
        last_P = rank.best_of_n(split.candidates).correct_P
        figures = {
            how: _figures(_ranked(split, how, tokenizer), last_P, bootstrap) for how in AGGREGATIONS
        }
        if figures["last"]:
            # By definition: nothing is left to chance.
            figures["last"]["difference_to_last"] = Estimate(value=0.0, ci95=[0.0, 0.0])
        out[name] = figures
    return out


def chosen(
    heldout: Mapping[str, Any] | None, test: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """The aggregation that is best on held-out problems, and what it reaches elsewhere.

    Best by its best-of-n; of equals the first of AGGREGATIONS.

    Args:
        heldout: of the split `heldout`, as in `compare`; None where there is none.
        test: of the split that is reported on; it has no say.
    """
    if not heldout or not test:
        return None
    known = [how for how in AGGREGATIONS if heldout[how] and test[how]]
    name = max(known, key=lambda how: heldout[how]["best_of_n"]["value"])
    return {
        "aggregation": name,
        "heldout_accuracy": heldout[name]["best_of_n"]["value"],
        **test[name],
    }


def _ranked(split: SplitRows, how: str, tokenizer: Tokenizer | None) -> Candidates | None:
    """None where the rows do not have what this aggregation needs."""
    try:
        scores = Scores(np.empty(0)) if how == "last" else scores_of(split, how, tokenizer)
    except AggregationError:
        return None
    if how == "last":
        return split.candidates
    return split.candidates.reranked(*scores) if np.isfinite(scores.score_R).all() else None


def _figures(
    candidates: Candidates | None, last_P: np.ndarray, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    if candidates is None:
        return None
    best_P = rank.best_of_n(candidates).correct_P.astype(np.float64)
    votes = (
        {"weighted_vote": rank.weighted_vote(candidates).correct_P}
        if are_probabilities(candidates)
        else {}
    )
    estimates = bootstrap.estimates({"best_of_n": best_P, **votes})
    apart = bootstrap.differences({"difference_to_last": best_P - last_P})
    return {
        "best_of_n": estimates["best_of_n"],
        **apart,
        "weighted_vote": estimates.get("weighted_vote"),
        "auroc_within_problem": auroc_within_problems(candidates),
    }


def _refuse_other_ids(token_N: np.ndarray, tokenizer: Tokenizer) -> None:
    strange = token_N[(token_N < 0) | (token_N >= tokenizer.vocab_size)]
    if len(strange):
        raise AggregationError(
            f"token {strange[0]} is beyond this tokenizer's {tokenizer.vocab_size:,}: it is "
            f"another one; {_WAY_OUT}"
        )


def _refuse_other_tokenizer(split: SplitRows, tokenizer: Tokenizer) -> None:
    """Holds a few solutions' text against what the tokenizer makes of their tokens."""
    rows = np.unique(
        np.linspace(0, len(split.rows) - 1, min(_COMPARED, len(split.rows))).astype(np.int64)
    )
    cells = split.cells(rows, ["solution", "tokens"])
    for row, text, tokens in zip(rows.tolist(), cells["solution"], cells["tokens"], strict=True):
        decoded = tokenizer.decode(tokens or [])
        if decoded != text:
            raise AggregationError(
                f"the tokens of row {row + 1} read {decoded[:60]!r}, its solution "
                f"{text[:60]!r}: another tokenizer; {_WAY_OUT}"
            )
