"""A teacher's tokens against a student's: by brute force, by hand, and on real tokenizers."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import tokenizers
from hypothesis import strategies as st

from tests.data.pieces import Pieces, taught
from verifier.data import alignment, matching
from verifier.data.alignment import Aligner, Taught
from verifier.data.alignment_report import AlignmentReport, total
from verifier.data.vocabularies import NONE, map_ids, vocabulary
from verifier.errors import AlignmentError
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.huggingface_tokenizer import HuggingFaceTokenizer
from verifier.text.sentencepiece_tokenizer import train_sentencepiece

TEXT = "She sold 48/2 = <<48/2=24>>24 apples.\nThat is 24 + 137 = <<24+137=161>>161.\n#### 161"


def byte_level():
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    made.train_from_iterator([TEXT] * 4, trainer)
    return HuggingFaceTokenizer(made.to_str(), {"tokenizer_config.json": {"eos_token": "<|end|>"}})


KINDS = {
    "bytes": ByteTokenizer(),
    "sentencepiece": train_sentencepiece([TEXT] * 3, 330),
    "few pieces": train_sentencepiece([TEXT] * 3, 300),
    "byte level": byte_level(),
}
PAIRS = [(one, other) for one in KINDS for other in KINDS]
any_pair = pytest.mark.parametrize(("teacher", "student"), PAIRS)
ALIGNERS = {
    (one, other, way): Aligner(KINDS[one], KINDS[other], way)
    for one, other in PAIRS
    for way in ("bytes", "dtw")
}
ANY_TEXT = st.lists(
    st.sampled_from([*"0123 =<>#\n", "sold", "\u20ac", "\U0001f600"]), max_size=20
).map("".join)


def ended(tokenizer, text):
    return [*tokenizer.encode(text), tokenizer.end_id]


def lengths(tokenizer, ids):
    """Bytes of each token; the end counts as one."""
    return np.array([len(tokenizer.piece_bytes(token)) or 1 for token in ids])


# Spans.


@any_pair
@hypothesis.given(text=ANY_TEXT | st.just(TEXT))
@hypothesis.settings(max_examples=20, deadline=None)
def test_spans_tile_both_sides_and_spell_the_same_bytes(teacher, student, text):
    ids, own = ended(KINDS[teacher], text), ended(KINDS[student], text)
    # A log-probability that counts bytes: the sum over a span's tokens counts the span's.
    told = Taught(np.array(ids), -lengths(KINDS[teacher], ids).astype(np.float32))
    aligned = ALIGNERS[teacher, student, "bytes"].align(told, own)
    assert aligned.tokens_T.tolist() == own
    steps = np.diff(aligned.span_T, prepend=-1)
    assert ((steps == 0) | (steps == 1)).all() and aligned.span_T[-1] == aligned.span_T.max()
    spelled = np.bincount(aligned.span_T, lengths(KINDS[student], own))
    assert (aligned.span_logprobs_Z == -spelled).all()
    assert aligned.report.all.dropped_bytes == 0 and aligned.report.all.bytes == len(text.encode())
    # As many spans as there are: every byte at which both sides end a token.
    ends = [
        set(np.cumsum(lengths(KINDS[n], x)).tolist()) for n, x in ((teacher, ids), (student, own))
    ]
    assert len(aligned.span_logprobs_Z) == len(ends[0] & ends[1])


@any_pair
@pytest.mark.parametrize("way", ["bytes", "dtw"])
def test_the_sum_over_spans_is_that_of_the_solution(teacher, student, way):
    told = taught(KINDS[teacher], ended(KINDS[teacher], TEXT))
    aligned = ALIGNERS[teacher, student, way].align(told)
    np.testing.assert_allclose(aligned.span_logprobs_Z.sum(), told.logprobs_S.sum(), rtol=1e-5)
    assert np.unique(aligned.span_T).tolist() == list(range(len(aligned.span_logprobs_Z)))


@pytest.mark.parametrize("flipped", [False, True])
def test_a_number_in_digits_against_one_token_is_one_span(flipped):
    sides = [Pieces(*"137", "=", " is"), Pieces("137", "=", " is")]
    teacher, student = reversed(sides) if flipped else sides
    told = taught(teacher, ended(teacher, " is=137="))
    number = len(student.encode("137"))
    aligned = Aligner(teacher, student, "bytes").align(told)
    assert aligned.span_T.tolist() == [0, 1, *[2] * number, 3, 4]
    assert aligned.one_hot_T.tolist() == [False, False, *[True] * number, False, False]
    np.testing.assert_allclose(aligned.span_logprobs_Z[2], told.logprobs_S[2:-2].sum(), rtol=1e-6)
    numbers = aligned.report.numbers
    assert numbers.tokens == number and numbers.share == 0 and numbers.one_hot_share == 1
    by_dtw = Aligner(teacher, student, "dtw").align(told)
    assert by_dtw.one_hot_T[2:-2].all() and not by_dtw.one_hot_T[-1]


# Who has the teacher's distribution.


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("way", ["same", "bytes", "dtw"])
def test_equal_tokenizers_give_every_token_its_distribution(kind, way):
    tokenizer = KINDS[kind]
    told = taught(tokenizer, ended(tokenizer, TEXT))
    aligned = Aligner(tokenizer, tokenizer, way).align(told)
    assert not aligned.one_hot_T.any()
    assert (aligned.span_T == np.arange(len(told.tokens_S))).all()
    assert (aligned.span_logprobs_Z == told.logprobs_S).all()
    report = aligned.report.all
    assert report.share == 1 and report.one_hot_share == 0
    kept = aligned.top_ids_TC != NONE
    if way == "same":
        assert kept.all()
    # What an id spells may be written in two ways (a letter and its byte); special ids map to none.
    assert (aligned.top_ids_TC[kept] == told.top_ids_SC[kept]).mean() > 0.9
    assert (aligned.top_logprobs_TC[~kept] == -np.inf).all()


TOY = Pieces("If", " If", " she", " s", "he", " has", " 12", " 1", "2", ".", "\n", " ", "1")


@pytest.mark.parametrize(
    ("teacher", "student", "bytes_", "dtw"),
    [
        (["If", " she", " has"], ["If", " she", " has"], "111", "111"),
        (["If", " she", " has"], ["If", " s", "he", " has"], "1001", "1001"),  # one to many
        # Many to one; warped, `s` is as near to `If` as to `she`, and the diagonal goes first.
        (["If", " s", "he", " has"], ["If", " she", " has"], "101", "001"),
        ([" 1", "2", ".", " has"], [" 12", ".", " has"], "011", "011"),
        ([" ", "1", "2"], [" 1", "2"], "01", "01"),
    ],
)
def test_one_token_to_many_and_many_to_one_are_one_hot(teacher, student, bytes_, dtw):
    ids, own = ([TOY.pieces.index(piece) for piece in side] for side in (teacher, student))
    for way, wanted in (("bytes", bytes_), ("dtw", dtw)):
        told = taught(TOY, ids)
        aligned = Aligner(TOY, TOY, way).align(told, own)
        assert "".join("01"[not one_hot] for one_hot in aligned.one_hot_T) == wanted
        for t in np.flatnonzero(aligned.one_hot_T):
            assert aligned.top_ids_TC[t].tolist() == [own[t], NONE, NONE, NONE]
            assert aligned.top_logprobs_TC[t].tolist() == [0, -np.inf, -np.inf, -np.inf]
        for t in np.flatnonzero(~aligned.one_hot_T):
            s = ids.index(own[t])
            assert (aligned.top_ids_TC[t] == told.top_ids_SC[s]).all()
            assert (aligned.top_logprobs_TC[t] == told.top_logprobs_SC[s]).all()


def test_a_dummy_space_before_a_text_is_no_difference():
    """SentencePiece writes one that the text has not; time warping makes the first word one-hot."""
    ids = [TOY.pieces.index(piece) for piece in (" If", " she", " has")]
    for way in ("bytes", "dtw"):
        aligned = Aligner(TOY, TOY, way).align(taught(TOY, ids), TOY.encode("If she has"))
        assert aligned.span_T.tolist() == [0, 1, 2]
        assert aligned.one_hot_T.tolist() == [True, False, False]
        assert aligned.report.all.dropped_bytes == 0
    # The space may be a token of its own, which stays with the first word.
    ids = [TOY.pieces.index(piece) for piece in (" ", "If", " she", " has")]
    aligned = Aligner(TOY, TOY, "bytes").align(taught(TOY, ids), TOY.encode("If she has"))
    assert aligned.span_T.tolist() == [0, 1, 2] and aligned.one_hot_T.tolist() == [
        True,
        False,
        False,
    ]


def test_bytes_of_an_emoji_are_one_span():
    text = "5 \U0001f600\U0001f600!"
    pieces, whole = KINDS["sentencepiece"], Pieces("5", " ", "\U0001f600", "!")
    aligned = Aligner(pieces, whole, "bytes").align(taught(pieces, ended(pieces, text)))
    assert aligned.span_T.tolist() == list(range(6))
    assert aligned.one_hot_T.tolist() == [False, False, True, True, False, False]
    back = Aligner(whole, pieces, "bytes").align(taught(whole, ended(whole, text)))
    assert back.span_T.tolist() == [0, 1, *[2] * 4, *[3] * 4, 4, 5]
    # A byte that stands for itself on both sides is a token like any other.
    alike = Aligner(pieces, KINDS["bytes"], "bytes").align(taught(pieces, ended(pieces, text)))
    assert alike.span_T.tolist() == list(range(12)) and not alike.one_hot_T.any()


def test_an_end_that_only_one_side_has_is_in_no_span():
    told = taught(TOY, TOY.encode("If she"))
    aligned = Aligner(TOY, TOY, "bytes").align(told, ended(TOY, "If she"))
    assert aligned.span_T.tolist() == [0, 1, matching.NONE] and aligned.one_hot_T[-1]
    assert aligned.report.all.dropped_bytes == 0
    told = taught(TOY, ended(TOY, "If she"))
    aligned = Aligner(TOY, TOY, "dtw").align(told, TOY.encode("If she"))
    assert (
        aligned.span_T.tolist() == [0, 1] and (aligned.span_logprobs_Z == told.logprobs_S[:2]).all()
    )
    nothing = Aligner(TOY, TOY, "bytes").align(taught(TOY, []), [])
    assert len(nothing.tokens_T) == len(nothing.span_logprobs_Z) == 0


def test_end_tokens_of_other_names_match_by_their_meaning_alone():
    other = Pieces(*TOY.pieces[:-1])
    other.pieces[-1] = "<|stop|>"
    for way, one_hot in (("bytes", False), ("dtw", True)):
        aligned = Aligner(TOY, other, way).align(taught(TOY, ended(TOY, "If she")))
        assert aligned.one_hot_T.tolist() == [False, False, one_hot]
        assert aligned.span_T.tolist() == [0, 1, 2]


# What does not fit.


def test_texts_that_differ_are_refused_by_name():
    for way in ("bytes", "dtw"):
        with pytest.raises(AlignmentError, match="'If she'.*'If has'"):
            Aligner(TOY, TOY, way).align(taught(TOY, TOY.encode("If she")), TOY.encode("If has"))


def test_bytes_that_are_no_text_are_dropped_and_counted():
    """Half a character is read as U+FFFD, which the student writes in other bytes."""
    teacher, student = KINDS["bytes"], KINDS["sentencepiece"]
    told = taught(teacher, [*b"12 \xf0", teacher.end_id])
    aligned = Aligner(teacher, student, "bytes").align(told)
    assert (aligned.span_T[:-1] == matching.NONE).all() and aligned.one_hot_T[:-1].all()
    assert aligned.span_T[-1] == 0 and not aligned.one_hot_T[-1]
    assert aligned.report.all.dropped_bytes == aligned.report.all.bytes == 3 + 3
    assert aligned.report.numbers.dropped_bytes == 2


def test_ways_that_cannot_be():
    with pytest.raises(AlignmentError, match="align=same.*bytes or dtw"):
        Aligner(KINDS["bytes"], KINDS["few pieces"], "same")
    with pytest.raises(AlignmentError, match="different ids"):
        Aligner(TOY, TOY, "same").align(taught(TOY, TOY.encode(" 1")), TOY.encode("1"))
    unknown = Pieces("a")
    unknown.piece_bytes = lambda token: None
    with pytest.raises(AlignmentError, match="student's pieces.*align=dtw"):
        Aligner(TOY, unknown, "bytes")
    assert Aligner(TOY, TOY).way == "same" and Aligner(TOY, KINDS["bytes"]).way == "bytes"


# The map of ids, and the report.


def test_ids_map_to_those_of_the_same_bytes_that_are_written():
    teacher = Pieces("a", " b", "\u20ac", "<0x62>", "c")
    student = Pieces("<0x61>", "a", "b", " b", "<0x62>", "\u20ac")
    mapped = map_ids(vocabulary(teacher), vocabulary(student), "bytes")
    names = [student.pieces[token] if token != NONE else "" for token in mapped]
    assert names == ["a", " b", "\u20ac", "b", "", "</end>"]


def test_alternatives_of_the_same_id_are_added_up():
    teacher = Pieces("a", "<0x61>", "b", "q")
    student = Pieces("a", "b")
    told = Taught(
        np.array([2]),
        np.log([0.2]),
        np.array([[0, 2, 3, 1]]),
        np.log([[0.4, 0.2, 0.15, 0.1]]).astype(np.float32),
    )
    aligned = Aligner(teacher, student, "bytes").align(told, [1])
    assert aligned.top_ids_TC.tolist() == [[0, 1, NONE, NONE]]
    np.testing.assert_allclose(np.exp(aligned.top_logprobs_TC), [[0.5, 0.2, 0, 0]], rtol=1e-6)
    counts = aligned.report.all
    np.testing.assert_allclose(
        [counts.kept_mass, counts.dropped_mass, counts.mean_untold_mass],
        [0.7, 0.15, 0.15],
        rtol=1e-5,
    )


@any_pair
@pytest.mark.parametrize("way", ["bytes", "dtw"])
def test_reports_add_up_and_many_are_as_each(teacher, student, way):
    aligner = ALIGNERS[teacher, student, way]
    texts = [TEXT, "", "1 egg", TEXT[:30], "\U0001f600 costs \u20ac5"]
    told = [taught(KINDS[teacher], ended(KINDS[teacher], text), n) for n, text in enumerate(texts)]
    many = aligner.align_many(told)
    for one, each in zip(told, many, strict=True):
        for array, other in zip(aligner.align(one), each, strict=True):
            assert np.array_equal(array, other) if isinstance(array, np.ndarray) else array == other
    report = total(each.report for each in many)
    assert report.solutions == 5 and report.all.tokens == sum(len(each.tokens_T) for each in many)
    assert report.all.distributions == sum((~each.one_hot_T).sum() for each in many)
    assert report.all.bytes == sum(len(text.encode()) for text in texts)
    masses = report.all.share * report.all.tokens
    np.testing.assert_allclose(
        masses * (report.all.mean_dropped_mass + report.all.mean_untold_mass)
        + report.all.kept_mass,
        masses,
        rtol=1e-5,
    )
    assert len(report.lines()) == 3


def test_how_many_paths_are_found_together_changes_none(monkeypatch):
    aligner = ALIGNERS["byte level", "sentencepiece", "dtw"]
    told = [taught(KINDS["byte level"], ended(KINDS["byte level"], TEXT[:n])) for n in (9, 40, 70)]
    together = aligner.align_many(told)
    monkeypatch.setattr(alignment, "_CELLS", 1)
    for one, other in zip(together, aligner.align_many(told), strict=True):
        assert (one.span_T == other.span_T).all() and (one.one_hot_T == other.one_hot_T).all()


def test_nothing_is_a_report_too():
    assert AlignmentReport().lines()[0].startswith("0 solutions")


def test_without_alternatives_all_is_one_hot_and_spans_stand():
    ids = np.array(ended(TOY, "If she has 12."))
    told = Taught(ids, -np.arange(len(ids), dtype=np.float32))
    aligned = Aligner(TOY, TOY).align(told)
    assert aligned.one_hot_T.all() and aligned.top_ids_TC.tolist() == ids[:, None].tolist()
    assert (aligned.span_logprobs_Z == told.logprobs_S).all()
