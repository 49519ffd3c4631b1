"""A teacher's solutions out of files of others: a table of samples, whatever its size and order."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.token_logs_test import chat, completion, cut
from verifier.errors import StoreError, TablesError
from verifier.ingest import aside, completion_logs
from verifier.ingest.completion_logs import write_samples
from verifier.ingest.external import Reading
from verifier.tables.reading import read_table
from verifier.tables.store import TableWriter
from verifier.text.problem import problem_id

COLUMNS = ["problem_id", "sample_id", "solution", "finish", "generator"]
QUESTIONS = [f"How much is {n} + 1?" for n in range(7)]


def solution(n, sample):
    return f"{n} + 1 = <<{n}+1={n + 1}>>{n + 1}, {sample}.\n#### {n + 1}"


def choice(n, sample, form=chat):
    text = solution(n, sample)
    pieces = cut(text, [3 * sample + 2, n + 9, 17])
    tops = [[(piece, -float(k)), (b"?", -k - 0.5)] for k, piece in enumerate(pieces)]
    return form(pieces, tops, text=text)


def rows(form=chat, samples=4):
    """The samples of a problem lie apart."""
    return [
        {"question": question, "answer": n + 1, "response": {"choices": [choice(n, sample, form)]}}
        for sample in range(samples)
        for n, question in enumerate(QUESTIONS)
    ]


def write(path, objects):
    content = "".join(json.dumps(each) + "\n" for each in objects).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def stored(folder, columns=(*COLUMNS, "pieces", "logprobs", "top_pieces", "top_logprobs")):
    read = read_table(folder, "samples", list(columns)).to_pylist()
    return {(row["problem_id"], row["sample_id"]): row for row in read}


@pytest.mark.parametrize("form", [chat, completion])
def test_a_log_becomes_a_table_whose_pieces_are_the_solutions(tmp_path, form, monkeypatch):
    monkeypatch.setattr(aside, "_LOT", 1000)  # the rows are put aside in several lots
    monkeypatch.setattr(completion_logs, "_AT_ONCE", 5)
    write(tmp_path / "log.jsonl.gz", rows(form))
    folder = tmp_path / "split=train"
    write_samples(tmp_path / "log.jsonl.gz", folder, {})
    found = stored(folder)
    assert len(found) == 4 * len(QUESTIONS) and len(list(folder.glob("part-*"))) > 1
    for n, question in enumerate(QUESTIONS):
        for sample in range(4):
            row = found[problem_id(question), sample]
            assert row["solution"] == solution(n, sample) == b"".join(row["pieces"]).decode()
            count = len(row["pieces"])
            assert row["logprobs"] == [-float(k) for k in range(count)]
            assert row["top_pieces"] == [[piece, b"?"] for piece in row["pieces"]]
            assert row["top_logprobs"] == [[-float(k), -k - 0.5] for k in range(count)]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith("aside")] == []


def test_a_table_holds_no_more_than_is_asked_for_or_told(tmp_path):
    path = write(tmp_path / "log.jsonl", rows())
    write_samples(path, tmp_path / "a", {}, "logprobs")
    write_samples(path, tmp_path / "b", {}, "text")
    names = [set(pq.read_schema(next((tmp_path / name).glob("part*"))).names) for name in "ab"]
    assert names == [{*COLUMNS, "pieces", "logprobs"}, set(COLUMNS)]
    write(path, [row | {"response": {"choices": [{"text": "4"}]}} for row in rows(samples=1)])
    write_samples(path, tmp_path / "c", {})
    assert set(pq.read_schema(next((tmp_path / "c").glob("part*"))).names) == set(COLUMNS)


def test_a_batch_has_its_own_ids_and_several_choices(tmp_path):
    batch = [
        {
            "custom_id": f"p{n}",
            "response": {
                "body": {
                    "model": "teacher",
                    "choices": [choice(n, sample) | {"index": sample} for sample in (1, 0)],
                }
            },
        }
        for n in range(3)
    ]
    failed = {"custom_id": "p9", "response": {"body": {"error": "overloaded"}}}
    path = write(tmp_path / "batch.jsonl", [*batch, failed])
    write_samples(path, tmp_path / "table", {})
    found = stored(tmp_path / "table")
    assert set(found) == {(f"p{n}", sample) for n in range(3) for sample in range(2)}
    assert all(row["solution"] == solution(int(key[0][1]), key[1]) for key, row in found.items())
    assert {row["generator"] for row in found.values()} == {"teacher"}


def test_texts_alone_become_a_table_too(tmp_path):
    objects = [{"problem": question, "completions": ["a", "b"]} for question in QUESTIONS]
    path = write(tmp_path / "texts.jsonl", objects)
    write_samples(path, tmp_path / "table", {}, how=Reading(fields={"solution": "completions"}))
    found = stored(tmp_path / "table", COLUMNS)
    assert len(found) == 14 and found[problem_id(QUESTIONS[3]), 1]["solution"] == "b"
    with pytest.raises(TablesError, match="no log-probabilities in it; expected a log"):
        write_samples(path, tmp_path / "other", {}, "logprobs")


def test_after_a_kill_it_goes_on_with_the_lots_that_are_missing(tmp_path, monkeypatch):
    path = write(tmp_path / "log.jsonl", rows())
    write_samples(path, tmp_path / "whole", {})
    monkeypatch.setattr(aside, "_LOT", 1000)
    append, left = TableWriter.append, [2]

    def dying(self, table):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        append(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(TableWriter, "append", dying)
        with pytest.raises(KeyboardInterrupt):
            write_samples(path, tmp_path / "killed", {})
    write_samples(path, tmp_path / "killed", {})
    assert stored(tmp_path / "killed") == stored(tmp_path / "whole")
    ids = [
        json.loads((tmp_path / name / "manifest.json").read_text())["id"]
        for name in ("killed", "whole")
    ]
    assert ids[0] == ids[1]  # of the rows, however they lie in parts


def test_what_is_wrong_is_named_with_file_and_row(tmp_path):
    def refused(objects, message, wanted=None):
        path = write(tmp_path / "log.jsonl", objects)
        with pytest.raises(TablesError, match=message):
            write_samples(path, tmp_path / "table", {}, wanted)
        assert not (tmp_path / "table" / "manifest.json").exists()

    bare = rows()
    bare[5]["response"]["choices"][0]["logprobs"] = None
    refused(bare, r"log\.jsonl, row 6: no log-probabilities in it")
    other = rows()
    two = other[2]["response"]["choices"]
    two.append(choice(2, 9) | {"message": {"content": "something else"}})
    refused(other, r"log\.jsonl, row 3, choice 2: the tokens do not join to the text")
    nobody = rows()
    del nobody[4]["question"]
    refused(nobody, r"log\.jsonl, row 5: no question, nor a problem_id")
    odd = [row | {"sample_id": -3} for row in rows()]
    refused(odd, r"row 1: sample_id is -3")
    plain = [{"question": "q", "choices": [{"text": "4"}]}]
    refused(plain, "row 1: no log-probabilities", "top_logprobs")
    twice = [row | {"sample_id": 3} for row in rows()]
    refused(twice, r"log\.jsonl: sample_id 3 of problem \w+ stands twice; expected each once")


def test_samples_without_an_id_get_one_that_is_free(tmp_path):
    numbers = {0: {}, 1: {"sample_id": 0}, 2: {}, 3: {"sample_id": 2}}
    given = [
        {"question": "q", "choices": [{"text": f"{n}"}]} | numbers[n] for n in range(len(numbers))
    ]
    write_samples(write(tmp_path / "log.jsonl", given), tmp_path / "table", {})
    found = stored(tmp_path / "table", COLUMNS)
    assert {key[1]: row["solution"] for key, row in found.items()} == {
        0: "1",
        1: "0",
        2: "3",
        3: "2",
    }


def test_a_table_of_other_settings_is_not_taken_for_this_one(tmp_path):
    path = write(tmp_path / "log.jsonl", rows())
    write_samples(path, tmp_path / "table", {"log": "a"})
    write_samples(path, tmp_path / "table", {"log": "a"})
    with pytest.raises(StoreError, match="other settings.*remove the folder"):
        write_samples(path, tmp_path / "table", {"log": "b"})


def test_lots_hold_whole_problems_in_order(tmp_path):
    random = np.random.default_rng(0)
    names = [f"p{n}" for n in random.integers(0, 30, 500)]
    tables = [
        pa.table(
            {"problem_id": names[at : at + 7], "place": list(range(at, at + 7))[: len(names) - at]}
        )
        for at in range(0, 500, 7)
    ]
    with aside.by_problem(tmp_path / "aside", iter(tables), aside._LOT * 4) as lots:
        found = [lot.to_pydict() for lot in lots]
    assert 1 < len(found) <= 5
    owners = [set(lot["problem_id"]) for lot in found]
    assert sum(map(len, owners)) == len(set(names)) == len(set().union(*owners))
    for lot in found:
        pairs = list(zip(lot["problem_id"], lot["place"], strict=True))
        assert pairs == sorted(pairs) and all(names[place] == name for name, place in pairs)
    assert not (tmp_path / "aside").exists()
