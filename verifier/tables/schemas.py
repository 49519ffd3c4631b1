"""The tables of a run: their columns, types and keys."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from verifier.errors import StoreError


def _columns(types: dict[str, pa.DataType], nullable: tuple[str, ...] = ()) -> pa.Schema:
    return pa.schema(
        [pa.field(name, kind, nullable=name in nullable) for name, kind in types.items()]
    )


# Of a search: what it spent, and on what.
_SPENT_AND_FOUND = {
    "tokens_generated": pa.int64(),  # of all candidates
    "prefixes_generated": pa.int64(),  # what several of them wrote alike counts once
    "tokens_scored": pa.int64(),  # read to be judged, the prompt and probes too
    "model_calls": pa.int64(),  # candidates' steps, and those that were judged
    "seconds": pa.float64(),  # its share, by tokens, of those of all that ran together
    "solution": pa.string(),
    "score": pa.float32(),
}
# A tree, a list entry a node, the root left out.
_TREE = {
    "node": pa.list_(pa.int32()),  # its number, from 0 on
    "parent": pa.list_(pa.int32()),  # number of another node, or -1: the root
    "text": pa.list_(pa.string()),
    "value": pa.list_(pa.float32()),
    "visits": pa.list_(pa.int32()),  # candidates that wrote it; of RAIN visits, rounded
    "kept": pa.list_(pa.bool_()),  # not given up
}

# Of the tables below; goes into manifests, where nothing counts as 1. Raise it when a column
# changes its meaning or leaves.
SCHEMA_VERSION = 1

SCHEMAS: dict[str, pa.Schema] = {
    "problems": _columns(
        {
            "problem_id": pa.string(),  # hash of the normalised question, never an index
            "question": pa.string(),
            "solution": pa.string(),
            "answer": pa.string(),
            "source": pa.string(),
            "split": pa.string(),
        },
        nullable=("solution",),
    ),
    "samples": _columns(
        {
            "problem_id": pa.string(),
            "sample_id": pa.int32(),
            "solution": pa.string(),
            "tokens": pa.list_(pa.int32()),
            "forced": pa.list_(pa.bool_()),  # written by the calculator
            "logprobs": pa.list_(pa.float32()),
            "finish": pa.string(),  # "eos" | "length"
            "generator": pa.string(),  # checkpoint id
            "seed": pa.int64(),
            "calculator_errors": pa.int32(),
        }
    ),
    "labels": _columns(
        {
            "problem_id": pa.string(),
            "sample_id": pa.int32(),
            "answer": pa.string(),  # what was extracted
            "correct": pa.bool_(),
            "grader": pa.string(),
        },
        nullable=("answer",),
    ),
    "scores": _columns(
        {
            "problem_id": pa.string(),
            "sample_id": pa.int32(),
            "verifier": pa.string(),
            "score": pa.float32(),  # the value at the last solution token
            "token_scores": pa.list_(pa.float32()),
        }
    ),
    "steps": _columns(
        {
            "problem_id": pa.string(),
            "sample_id": pa.int32(),
            "step": pa.int32(),
            "end_token": pa.int32(),  # index into the sample's tokens
            "rollouts": pa.int32(),  # solutions that went on from there; none of the last step
            "hits": pa.int32(),  # of these that are right
        }
    ),
    "search": _columns(
        {
            "problem_id": pa.string(),
            "method": pa.string(),
            "budget": pa.int32(),  # candidates of a step
            **_SPENT_AND_FOUND,
            "answer": pa.string(),  # what was extracted
            "correct": pa.bool_(),
            **_TREE,
        },
        nullable=("answer",),
    ),
    "direct": _columns(
        {
            "problem_id": pa.string(),
            "sample_id": pa.int32(),  # only thoughts differ
            # of the right answer's tokens, among those of the answers' alphabet alone
            "logprobs": pa.list_(pa.float32()),
            "soft": pa.float32(),  # the product of their chances
            "answer": pa.string(),  # the most likely one, written freely up to the line's end
            "correct": pa.bool_(),  # whether that is the right one
            "generator": pa.string(),
        }
    ),
    "rain": _columns(
        {
            "problem_id": pa.string(),
            "method": pa.string(),  # rain, or greedy: the same model's own answer
            "prompt": pa.string(),
            **_SPENT_AND_FOUND,
            **_TREE,
        }
    ),
    # A row a token of held-out text. Those that nothing before them predicts have nulls.
    "thoughts": _columns(
        {
            "window": pa.int32(),  # which one of the corpus's held-out windows
            "document": pa.int64(),  # its number in the corpus
            "token": pa.int32(),  # index in the document
            "token_id": pa.int32(),
            "text": pa.string(),  # what the token adds
            "kind": pa.string(),  # as the corpus tells it apart; "": it does not
            "logprob_base": pa.float32(),  # without a thought
            "logprob_talk": pa.float32(),  # with one before it, the mean over those below
            "mixing": pa.float32(),  # weight of the thought in this prediction, their mean
            "thought": pa.string(),  # that of the highest reward; of equal ones the first
            "thought_tokens": pa.list_(pa.int32()),  # its drawn tokens
            # Of all thoughts that were drawn before the token:
            "rewards": pa.list_(pa.float32()),  # empty where not all tokens ahead are there
            "mixings": pa.list_(pa.float32()),
            "entropies": pa.list_(pa.float32()),  # nats a drawn token; none where none is drawn
            # Of this token and those behind it, as many as a thought is judged by, after each.
            "ahead_talk": pa.list_(pa.list_(pa.float32())),
        },
        nullable=("logprob_base", "logprob_talk", "mixing", "thought"),
    ),
}

# Columns that a table has where they are asked for.
OPTIONAL: dict[str, pa.Schema] = {
    "samples": _columns(
        {
            # Of every token C ids, as many of all (sample.top_logprobs): the likeliest first, with
            # the token itself in the last place where it is none of the C likeliest.
            "top_ids": pa.list_(pa.list_(pa.int32())),
            # And their log-probabilities, at temperature 1 and before top_k and top_p; of forced
            # tokens too.
            "top_logprobs": pa.list_(pa.list_(pa.float32())),
            # In the place of ids where a program that has no ids to tell wrote the samples: the
            # bytes of every token, none of the end token. Together they are the solution.
            "pieces": pa.list_(pa.binary()),
            # In the place of top_ids, as many as that program told of each token and the token
            # itself, no bytes standing for the end token.
            "top_pieces": pa.list_(pa.list_(pa.binary())),
        }
    )
}


def key_of(table: str) -> tuple[str, ...]:
    """The columns that no two rows of a split share."""
    keys = ("problem_id", "sample_id", "step", "method", "budget", "window", "document", "token")
    return tuple(name for name in keys if name in schema_of(table).names)


def unit_of(table: str) -> str:
    """The column whose equal values are written together: a table is gone on with unit by unit."""
    return key_of(table)[0]


def schema_of(table: str) -> pa.Schema:
    """The schema of a table by name.

    Raises:
        StoreError: there is no such table; the known ones are named.
    """
    if table not in SCHEMAS:
        raise StoreError(f"there is no table {table!r}; expected one of {', '.join(SCHEMAS)}")
    return SCHEMAS[table]


def variant(table: str, more: Sequence[str] = (), less: Sequence[str] = ()) -> pa.Schema:
    """The schema of a table with some of its optional columns, and without some others."""
    kept = [field for field in schema_of(table) if field.name not in less]
    return pa.schema([*kept, *map(types_of(table).field, more)])


def types_of(table: str) -> pa.Schema:
    """All columns that a table may have.

    Raises:
        StoreError: as `schema_of`.
    """
    return pa.schema([*schema_of(table), *OPTIONAL.get(table, ())])
