"""The report of a small workdir: a page that loads nothing and escapes everything, figures that do
not depend on the order of rows.
"""

from __future__ import annotations

import html.parser
import json
import pathlib
import re

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.held import written
from verifier import errors
from verifier.config import ReportConfig
from verifier.errors import TablesError, UserError
from verifier.grading import graders
from verifier.report import writing
from verifier.system import atomic, checksums
from verifier.tables import assembly, scored, store, stored_splits
from verifier.tables.manifests import read_manifest
from verifier.tables.reading import read_table
from verifier.text.bytes_tokenizer import ByteTokenizer
from verifier.text.split import TEST

CONFIG = ReportConfig(ks=(1, 3, 5), resamples=100, show_problems=6)
EVIL = 'A <script>alert("1")</script> & costs \u00a35. How many?'


def make_workdir(
    root: pathlib.Path, seed: int = 0, scored: bool = True, order: int | None = None
) -> pathlib.Path:
    """A small workdir with made-up samples; `order` shuffles whole problems and their samples on
    disk.
    """
    rng, tokenizer = np.random.default_rng(seed), ByteTokenizer()
    tokenizer.save(root / "generator")
    for split, problems, samples in (("heldout", 12, 6), ("test", 15, 6), ("test_greedy", 15, 1)):
        rows: dict[str, list[dict]] = {"problems": [], "samples": [], "labels": [], "scores": []}
        for p in range(problems):
            name, ability = f"{split.removesuffix('_greedy')}-{p:02d}", rng.random()
            question = f"{EVIL} {p}"
            problem = {
                "problem_id": name,
                "question": question,
                "solution": None,
                "answer": "18",
                "source": "made",
                "split": split,
            }
            rows["problems"].append(problem)
            for j in range(samples):
                right = rng.random() < ability
                end = (
                    "#### 18"
                    if right
                    else rng.choice(["#### 7", "#### 9", "so it is", "#### 18.0 <i>"])
                )
                text, correct = f"\u00a33*6=<<3*6=18>>18 {end}", right or end.startswith("#### 18")
                tokens = [*tokenizer.encode(text), tokenizer.end_id]
                key = {"problem_id": name, "sample_id": j}
                extra = {
                    "finish": "eos",
                    "generator": "g1",
                    "seed": 0,
                    "calculator_errors": 0,
                    "logprobs": [0.0] * len(tokens),
                }
                forced = [14 <= index < 18 for index in range(len(tokens))]
                rows["samples"].append(
                    {**key, "solution": text, "tokens": tokens, "forced": forced, **extra}
                )
                rows["labels"].append(
                    {
                        **key,
                        "answer": graders.relabel([text], ["18"], "numeric").answers[0],
                        "correct": bool(correct),
                        "grader": "numeric",
                    }
                )
                values = (
                    np.clip(rng.normal(0.4 + 0.2 * bool(correct), 0.2, len(tokens)), 0, 1)
                    .astype(np.float32)
                    .tolist()
                )
                rows["scores"].append(
                    {**key, "verifier": "v1", "score": values[-1], "token_scores": values}
                )
        for table, made in rows.items():
            if (table == "problems" and "greedy" in split) or (
                table == "scores" and ("greedy" in split or not scored)
            ):
                continue
            if order is not None:
                made = [
                    made[row]
                    for row in np.random.default_rng(order + len(table)).permutation(len(made))
                ]
            writer = store.TableWriter(root / "tables" / table / f"split={split}", table, {})
            writer.append(made)
            writer.finish({"seconds": 1.5})
    settings = {"seed": seed, "data.name": "made", "report.ks": [1, 3, 5]}
    about = {
        "name": "a <b>run</b>",
        "settings": settings,
        "versions": {"jax": "0.0"},
        "git_revision": None,
    }
    atomic.write_json(root / "config.json", about)
    return root


class Page(html.parser.HTMLParser):
    """Notes tags, addresses and unclosed elements."""

    VOID = {"meta", "link", "br", "input"}
    rawdata_is_data = False

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.data: dict = {}
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)
        self.addresses += [
            value for name, value in attrs if name in ("href", "src", "srcset", "action")
        ]
        if tag not in self.VOID:
            self.open.append(tag)
        if dict(attrs).get("id") == "data":
            self.rawdata_is_data = True

    def handle_data(self, data: str) -> None:
        if self.rawdata_is_data:
            self.data, self.rawdata_is_data = json.loads(data), False

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open[-1] == "option" != tag:  # which HTML closes by itself
            self.open.pop()
        assert self.open.pop() == tag, f"</{tag}> closes another element"


def read_page(path: pathlib.Path) -> tuple[str, Page]:
    text, page = path.read_text(), Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return text, page


def test_the_report_of_a_workdir(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path)
    result = writing.write_report(root, root / "report", CONFIG, seed=0)
    assert json.loads((root / "report" / "metrics.json").read_text()) == result
    (root / "report" / "mine.svg").write_text("mine")
    with pytest.MonkeyPatch.context() as patched:
        # A report without one of its charts, in the folder of one that had it
        patched.setattr(writing.heatmap, "votes", lambda _: None)
        writing.write_report(root, root / "report", CONFIG, seed=0)
    assert (
        not (root / "report" / "heatmap.svg").exists()
        and (root / "report" / "mine.svg").read_text() == "mine"
    )
    (root / "report" / "mine.svg").unlink()
    writing.write_report(root, root / "report", CONFIG, seed=0)
    assert {path.name for path in (root / "report").iterdir()} == {
        *("index.html", "metrics.json"),
        *(
            "accuracy.svg",
            "heatmap.svg",
            "votes.svg",
            "reliability.svg",
            "scores.svg",
            "positions.svg",
        ),
    }
    assert set(result["splits"]) == {"heldout", "test"} and len(result["config_hash"]) == 16
    assert result["seconds"] == {"sample": 4.5, "label": 4.5, "score": 3.0}
    test = result["splits"]["test"]
    assert (
        test["n_problems"] == 15
        and test["n_samples"] == 90
        and 0 <= test["greedy_accuracy"]["value"] <= 1
    )
    assert (
        0 < test["grader_disagreement"]["share"] < 1 and test["grader_disagreement"]["judged"] == 90
    )
    assert "18.0" in json.dumps(test["grader_disagreement"]["examples"])
    most = test["grader_disagreement"]["pairs"][0]
    assert (
        f"most: {'/'.join(most['graders'])}, {most['share']:.1%}" in writing.results_table(result)
        and most["differ"] > 0
    )
    text, page = read_page(root / "report" / "index.html")
    assert f"<td>{' and '.join(most['graders'])}</td>" in text
    assert text.count("<script") == 2 and EVIL not in text and "a &lt;b&gt;run" in text
    assert page.addresses == ["data:,"] and not re.search(r"url\(|@import", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert [problem["question"] for problem in page.data["problems"]] == [
        f"{EVIL} {p}" for p in range(15)
    ]
    solutions = [one for problem in page.data["problems"] for one in problem["solutions"]]
    assert len(solutions) >= 12 and all(
        one["forced"] == [14, 15, 16, 17] and one["text"].startswith("\u00a3") for one in solutions
    )
    assert all(
        len(one["values"]) == len(one["lengths"])
        and 0 <= min(one["values"]) <= max(one["values"]) <= 100
        for one in solutions
    )
    # A cut character is whole
    assert all(
        sum(one["lengths"]) == len(one["text"]) and one["lengths"][:2] == [0, 1]
        for one in solutions
    )
    for name in ("accuracy", "heatmap", "votes", "reliability", "scores", "positions"):
        assert "<style>" in (root / "report" / f"{name}.svg").read_text()


def test_figures_do_not_depend_on_the_order_of_rows(tmp_path: pathlib.Path) -> None:
    first = make_workdir(tmp_path / "first")
    second = make_workdir(tmp_path / "second", order=3)
    one, other = (
        writing.write_report(root, root / "report", CONFIG, seed=0)["splits"]
        for root in (first, second)
    )
    for split in (*one.values(), *other.values()):
        # Which come first depends on the order of rows
        split["grader_disagreement"].pop("examples")
    assert one == other


def test_without_token_texts_whole_solutions_are_coloured(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path)
    for path in (root / "generator").iterdir():  # there is none beside a verifier either
        path.unlink()
    writing.write_report(root, root / "report", CONFIG, seed=0)
    text, page = read_page(root / "report" / "index.html")
    assert "as a whole has the colour of its score" in text and page.data["scored"]
    assert not any(
        "values" in one for problem in page.data["problems"] for one in problem["solutions"]
    )


def test_without_scores_there_is_a_page_all_the_same(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path, scored=False)
    result = writing.write_report(root, root / "report", CONFIG, seed=0)
    assert result["splits"]["test"]["best_of_n"] is None and result["splits"]["test"]["majority"]
    text, page = read_page(root / "report" / "index.html")
    assert "carry no scores" in text and not page.data["scored"] and "nothing is coloured" in text
    assert (
        page.data["problems"][0]["best"] is None
        and page.data["problems"][0]["majority"] is not None
    )


def test_tables_that_do_not_belong_together_are_refused(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path)
    samples = stored_splits.read_samples(root / "tables" / "samples" / "split=test", "numeric")
    scores = read_table(root / "tables" / "scores" / "split=test", "scores")
    problems = read_table(root, "problems", ["problem_id", "question", "answer"])
    with pytest.raises(
        TablesError,
        match="1 of 90 samples have no row in the scores, such as problem test-00, sample 0",
    ):
        assembly.assemble(
            samples, problems, "numeric", stored_splits.read_scores(written(scores.slice(1)))
        )
    twice = pa.concat_tables([scores, scores.slice(3, 1)])
    with pytest.raises(TablesError, match="the scores hold problem test-00, sample 3 twice"):
        assembly.assemble(samples, problems, "numeric", stored_splits.read_scores(written(twice)))
    with pytest.raises(
        TablesError, match="problems of the samples have no gold answer, such as test-"
    ):
        assembly.assemble(samples, problems.slice(0, 12), "numeric", None)
    with pytest.raises(errors.GraderError, match="no grader 'numerical'; nearest: numeric"):
        stored_splits.read_samples(root / "tables" / "samples" / "split=test", "numerical")
    with pytest.raises(TablesError, match="no samples of the splits"):
        stored_splits.read_workdir(tmp_path / "nowhere")


def test_tables_that_were_made_from_others_are_refused(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path)
    checksums.write_sealed(root / "verifier" / "manifest.json", {"id": "v1"})
    made_from = {
        "samples": ["problems"],
        "labels": ["samples", "problems"],
        "scores": ["samples", "verifier"],
    }
    for table, source in [
        (table, source) for table, sources in made_from.items() for source in sources
    ]:
        there = (
            root / "verifier" if source == "verifier" else root / "tables" / source / "split=test"
        )
        path = root / "tables" / table / "split=test" / "manifest.json"
        manifest = json.loads(path.read_text())
        checksums.write_sealed(path, manifest | {"settings": {source: read_manifest(there)["id"]}})
        assert set(stored_splits.read_workdir(root, [TEST])) == {TEST}
        checksums.write_sealed(path, manifest | {"settings": {source: "0123456789abcdef"}})
        refused = (
            rf"{table}/split=test was made from (an)?other {source} \(0123.*\).*run the stage "
            rf"'{table[:-1]}' again"
        )
        for read in (
            lambda: stored_splits.read_workdir(root, [TEST]),
            lambda: scored.write_scored(root, tmp_path / "s.jsonl"),
        ):
            with pytest.raises(TablesError, match=refused):
                read()
        if table == "labels":
            # Stored labels are of no concern
            assert stored_splits.read_workdir(root, [TEST], "numeric")[TEST].grader == "numeric"
        checksums.write_sealed(path, manifest)


def test_columns_of_the_scores_take_the_place_of_the_samples_own(tmp_path: pathlib.Path) -> None:
    root = make_workdir(tmp_path)
    samples = read_table(root / "tables" / "samples" / "split=test", "samples")
    scores = read_table(root / "tables" / "scores" / "split=test", "scores")
    old = samples.append_column("token_scores", pa.array([[9.0]] * len(samples)))
    problems = read_table(root, "problems", ["problem_id", "question", "answer"])
    shuffled = scores.take(np.random.default_rng(0).permutation(len(scores)))
    kept = stored_splits.read_scores(written(shuffled))
    split = assembly.assemble(
        stored_splits.read_samples(written(old), "numeric"), problems, "numeric", kept
    )
    rows = np.array([7, 0, 7, 31])
    cells = split.cells(rows, ["solution", "token_scores", "nothing"])
    assert cells["token_scores"] == scores["token_scores"].take(rows).to_pylist()
    assert (
        cells["solution"] == samples["solution"].take(rows).to_pylist() and "nothing" not in cells
    )


def test_relabelling_equals_grading_one_by_one() -> None:
    from verifier.grading.answer import GRADERS, grade

    solutions = ["#### 18", "#### 18.00", "it is 18", "#### 1,8", "#### x", "#### 18", ""] * 2
    golds = ["18"] * 7 + ["7"] * 7
    for name in GRADERS:
        graded = graders.relabel(solutions, golds, name)
        expected = [
            grade(solution, gold, name) for solution, gold in zip(solutions, golds, strict=True)
        ]
        assert graded.answers == [one.answer for one in expected] and graded.correct.tolist() == [
            one.correct for one in expected
        ]
        assert graded.not_graded == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"name": ', "no JSON"),
        (b"\xff", "no JSON"),
        (b"[]", "no JSON"),
        (b'{"settings": 3}', "settings is a JSON int"),
    ],
)
def test_a_broken_config_is_named(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"{tmp_path}/config\.json.*{message}.*remove it"):
        writing.about_workdir(tmp_path)
    (tmp_path / "config.json").unlink()
    assert writing.about_workdir(tmp_path).settings == {}


def test_a_config_with_any_byte_changed_is_refused_or_says_the_same(tmp_path):
    """And one from before it was sealed is taken as it is."""
    about = {
        "name": "mine",
        "seed": 3,
        "settings": {"seed": 3, "sample.temperature": 0.7},
        "versions": {"jax": "1"},
        "git_revision": "abc",
    }
    path = tmp_path / "config.json"
    atomic.write_json(path, about)
    unsealed = writing.about_workdir(tmp_path)
    checksums.write_sealed(path, about)
    whole = path.read_bytes()
    assert writing.about_workdir(tmp_path) == unsealed
    refused = 0
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        try:
            assert writing.about_workdir(tmp_path) == unsealed
        except errors.Damaged:
            refused += 1
    assert refused > 0.8 * len(whole)  # between entries, other blanks are the same JSON


@pytest.mark.parametrize(
    ("folder", "manifest"),
    [
        ("tables/samples/split=test", {"settings": {"generator": "g9"}}),
        ("tables/scores/split=test", {"reads_text": True}),
        ("verifier", {"reads_text": True}),
    ],
)
def test_a_page_colours_no_tokens_that_its_tokenizer_or_verifier_did_not_make(
    tmp_path, folder, manifest
):
    for name, of in (("generator", "g0"), ("verifier", "v0")):
        checksums.write_sealed(tmp_path / name / "manifest.json", {"id": of})
        ByteTokenizer().save(tmp_path / name)
    checksums.write_sealed(
        tmp_path / "tables/samples/split=test/manifest.json", {"settings": {"generator": "g0"}}
    )
    assert writing.about_workdir(tmp_path).tokenizer is not None
    checksums.write_sealed(tmp_path / folder / "manifest.json", manifest)
    assert writing.about_workdir(tmp_path).tokenizer is None
