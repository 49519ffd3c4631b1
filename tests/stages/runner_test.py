"""The whole run on shrunk settings: launch itself, then what a second, a different and an
interrupted run do with its workdir.
"""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from flax import nnx

from tests.shrunk import config, context, rows, run
from tests.stores import copy as copy_files
from verifier import api, errors, export, rerank
from verifier import config as config_lib
from verifier.grading import corrections
from verifier.hf import weights as hf_weights
from verifier.model.arch import Arch
from verifier.model.transformer import Transformer
from verifier.run import model_folder
from verifier.stages import generators, stored_samples, table_writing
from verifier.system import checksums
from verifier.tables import store, stored_splits
from verifier.text.sentencepiece_tokenizer import train_sentencepiece
from verifier.text.split import OWN, TEST
from verifier.text.tokenizer import load_tokenizer


def test_launch_ends_with_the_table_and_the_paths(finished):
    root, printed = finished
    assert "majority" in printed and "best-of-n" in printed
    for name in ("index.html", "metrics.json"):
        assert str(root / "report" / name) in printed
        assert (root / "report" / name).stat().st_size > 500


def test_the_workdir_is_laid_out_as_promised(finished):
    root, _ = finished
    saved = json.loads((root / "config.json").read_text())
    assert (
        saved["seed"] == 0
        and saved["settings"]["sample.test_samples"] == 4
        and "jax" in saved["versions"]
    )
    for folder in ("generator", "verifier"):
        manifest = json.loads((root / folder / "manifest.json").read_text())
        assert manifest["id"]
    for table in ("problems", "samples", "labels", "scores"):
        folder = root / "tables" / table / "split=test"
        assert (folder / "manifest.json").exists()
        assert pq.read_table(next(folder.glob("part-*.parquet")), partitioning=None).schema.equals(
            store.SCHEMAS[table]
        )
    assert list((root / "logs").glob("*.jsonl")) and (root / "logs" / "tensorboard").is_dir()


def test_the_tables_fit_together(finished):
    stored = finished[0] / "tables"
    generator = json.loads((finished[0] / "generator" / "manifest.json").read_text())["id"]
    for split, count in (
        ("train", 10 * 3),
        ("heldout", 10 * 4),
        ("test", 10 * 4),
        ("test_greedy", 10),
    ):
        samples = rows(stored / "samples" / f"split={split}")
        assert len(samples) == count
        assert {row["generator"] for row in samples} == {generator}
        for row in samples:
            assert len(row["tokens"]) == len(row["forced"]) == len(row["logprobs"]) <= 24
            assert row["finish"] == "eos" or len(row["tokens"]) == 24
        keys = [(row["problem_id"], row["sample_id"]) for row in samples]
        assert keys == [
            (row["problem_id"], row["sample_id"])
            for row in rows(stored / "labels" / f"split={split}")
        ]
    scores = rows(stored / "scores" / "split=test")
    assert [len(row["token_scores"]) for row in scores] == [
        len(row["tokens"]) for row in rows(stored / "samples" / "split=test")
    ]
    assert all(row["score"] == pytest.approx(row["token_scores"][-1]) for row in scores)


def test_metrics_have_the_promised_names(finished):
    metrics = json.loads((finished[0] / "report" / "metrics.json").read_text())
    test = metrics["splits"]["test"]
    assert test["n_problems"] == 10 and test["n_samples"] == 40
    for name in (
        "mean_sample_accuracy",
        "greedy_accuracy",
        "majority",
        "best_of_n",
        "weighted_vote",
        "oracle_pass_at_n",
    ):
        low, high = test[name]["ci95"]
        assert 0 <= low <= test[name]["value"] <= high <= 1
    assert set(test["top_k_vote"]) == {"1", "2", "4"}
    for name in ("pass_at_k", "verifier_at_k", "majority_at_k"):
        assert "1" in test[name]
    assert {"auroc", "auroc_within_problem", "brier", "ece"} <= set(test["verifier"])
    assert metrics["config_hash"] and set(metrics["seconds"]) >= {
        "finetune",
        "sample",
        "label",
        "verify",
        "score",
    }


def test_a_second_run_makes_nothing_anew(copy, capsys):
    before = {
        path: path.stat().st_mtime_ns
        for path in copy.rglob("*")
        if path.is_file() and path.parts[-2] != "report"
    }
    metrics = (copy / "report" / "metrics.json").read_text()
    run(config(), copy, None)
    said = capsys.readouterr().err
    assert said.count("skipped") >= 8
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed <= {"config.json", ".lock"}
    assert (copy / "report" / "metrics.json").read_text() == metrics


@pytest.mark.parametrize(
    ("assignment", "stage"),
    [
        ("finetune.learning_rate=0.5", "finetune"),
        ("sample.temperature=0.5", "sample"),
        ("verify.head=linear", "verify"),
        ("label.grader=strict", "label"),
        ("label.fix_labels=true", "label"),
        ("data.test_problems=9", "score"),
        # no stage may speak of settings that what it reads was not made with
        ("finetune.learning_rate=0.5", "report"),
        ("verify.epochs=2", "sample"),
    ],
)
def test_other_settings_are_refused_by_name_and_nothing_is_lost(copy, assignment, stage):
    before = {
        path: path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file() and "tensorboard" not in str(path)
    }
    with pytest.raises(errors.UserError, match=assignment.split("=")[0]):
        run(config(assignment), copy, [stage])
    assert before == {
        path: path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file() and "tensorboard" not in str(path)
    }


def test_samples_of_another_generator_are_refused_unless_asked_for(copy):
    for split in ("train", "heldout"):
        path = copy / "tables" / "samples" / f"split={split}" / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["settings"]["generator"] = "somebody else"
        checksums.write_sealed(path, manifest)
    shutil.rmtree(copy / "verifier")
    with pytest.raises(errors.WorkdirError, match="somebody else"):
        run(config(), copy, ["verify"])
    run(config("verify.other_generator=true"), copy, ["verify"])
    said = store.read_manifest(copy / "verifier")  # nobody knows in whose tokens those samples are
    assert said["trained_on"] == "somebody else" != said["generator"] and said["reads_text"]


def scores_of(root):
    return [row["score"] for row in rows(root / "tables" / "scores" / "split=test")]


def test_a_verifier_from_the_generators_own_weights_elsewhere_is_the_same_verifier(
    copy, tmp_path, capsys
):
    before = scores_of(copy)
    export.export(copy / "generator", tmp_path / "there")
    for name in ("verifier", "tables/scores"):
        shutil.rmtree(copy / name)
    run(
        config("verify.init=base", f"verify.weights={tmp_path / 'there'}"),
        copy,
        ["verify", "score"],
    )
    assert scores_of(copy) == pytest.approx(before, abs=1e-6)
    said = store.read_manifest(copy / "verifier")
    assert (
        said["trained_on"] == said["generator"] == store.read_manifest(copy / "generator")["id"]
        and not said["reads_text"]
    )
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    capsys.readouterr()
    run(
        config("verify.init=base", f"verify.weights={tmp_path / 'elsewhere'}"),
        copy,
        ["verify", "score"],
    )
    assert capsys.readouterr().err.count("skipped") == 3


def test_a_verifier_with_other_tokens_reads_the_text_of_the_solutions(copy, tmp_path):
    for name in ("verifier", "tables/scores"):
        shutil.rmtree(copy / name)
    own = train_sentencepiece(
        [row["question"] for row in rows(copy / "tables" / "problems" / "split=train")], 600
    )
    arch = Arch(
        own.reserved_id + 1,
        layers=1,
        width=32,
        heads=2,
        kv_heads=2,
        head_width=16,
        mlp_width=64,
        context=512,
    )
    hf_weights.save_weights(
        Transformer(arch, rngs=nnx.Rngs(0)),
        tmp_path / "base",
        tokenizer_size=own.vocab_size,
        end_id=own.end_id,
    )
    own.save(tmp_path / "base")
    other = config("verify.init=base", f"verify.weights={tmp_path / 'base'}")
    run(other, copy, ["verify", "score", "report"])
    reader, generator = load_tokenizer(copy / "verifier"), load_tokenizer(copy / "generator")
    assert reader.vocab_size != generator.vocab_size
    samples = rows(copy / "tables" / "samples" / "split=test")
    read = stored_samples.read(
        context(other, copy, "score"), "samples", reader, True, TEST
    ).to_pylist()
    read.sort(key=lambda row: (row["problem_id"], row["sample_id"]))
    for sample, row, score in zip(
        samples, read, rows(copy / "tables" / "scores" / "split=test"), strict=True
    ):
        assert reader.decode(row["tokens"]) == sample["solution"]
        assert (row["tokens"][-1] == reader.end_id) == (
            sample["finish"] == "eos" or not sample["solution"]
        )
        assert len(row["forced"]) == len(row["tokens"]) == len(score["token_scores"])
    assert "coloured by the verifier" not in (copy / "report" / "index.html").read_text()


def test_settings_without_effect_are_not_refused(copy):
    run(
        config("sample.rows=8", "score.rows=4", "finetune.checkpoint_every=7"),
        copy,
        ["finetune", "sample", "score"],
    )


def test_memory_that_holds_no_slot_is_refused_before_the_generator_is_read(copy, monkeypatch):
    shutil.rmtree(copy / "tables" / "samples")
    monkeypatch.setattr(model_folder, "load", lambda *_: pytest.fail("the generator was read"))
    with pytest.raises(errors.UserError, match="does not fit into memory"):
        run(config("sample.memory_gib=0.0001"), copy, ["sample"])


def test_after_a_refusal_other_settings_may_be_tried(copy):
    shutil.rmtree(copy / "tables" / "samples")
    with pytest.raises(errors.UserError, match=r"lower\s+sample\.max_new_tokens=24"):
        run(config("sample.memory_gib=0.0001"), copy, ["sample"])
    run(config("sample.max_new_tokens=8"), copy, ["sample"])


def test_sampling_goes_on_after_the_last_whole_part_and_ends_the_same(copy, monkeypatch):
    folder = copy / "tables" / "samples" / "split=test"
    whole = rows(folder)
    shutil.rmtree(folder)
    monkeypatch.setattr(table_writing, "PART_ROWS", 1)
    stop = iter(range(4))

    class Killed(BaseException):
        pass

    append = store.TableWriter.append

    def dying(self, table):
        if next(stop, None) is None:
            raise Killed
        append(self, table)

    with monkeypatch.context() as patch:
        patch.setattr(store.TableWriter, "append", dying)
        with pytest.raises(Killed):
            run(config(), copy, ["sample"])
    assert not (folder / "manifest.json").exists()
    assert len(list(folder.glob("part-*.parquet"))) == 4
    run(config("sample.rows=4"), copy, ["sample"])
    again = rows(folder)
    for one, other in zip(whole, again, strict=True):
        assert one["tokens"] == other["tokens"] and one["solution"] == other["solution"]


def svamp_folder(folder, questions):
    folder.mkdir()
    problems = [
        {"Body": "Here is one", "Question": question, "Answer": float(n)}
        for n, question in enumerate(questions)
    ]
    (folder / "SVAMP.json").write_text(json.dumps(problems))
    return folder


def test_further_test_sets_join_a_finished_run_and_change_nothing_of_it(copy, tmp_path):
    before = json.loads((copy / "report" / "metrics.json").read_text())["splits"]
    made = {path: path.read_bytes() for path in (copy / "tables").rglob("*") if path.is_file()}
    folder = svamp_folder(tmp_path / "svamp", ["What is left?", "How many?", "How few?"])
    wanted = config("ood.sets=[svamp]", f"ood.dirs=[{folder}]")
    run(wanted, copy, None)
    after = json.loads((copy / "report" / "metrics.json").read_text())["splits"]
    assert {path: path.read_bytes() for path in made} == made
    assert {name: after[name] for name in before} == before
    assert after["test_svamp"]["n_problems"] == 3 and after["test_svamp"]["n_samples"] == 3 * 4
    assert after["test_svamp"]["greedy_accuracy"] and after["test_svamp"]["best_of_n"]
    # chosen on held-out problems
    assert after["test_svamp"]["top_k_vote_chosen"]["k"] == before["test"]["top_k_vote_chosen"]["k"]
    assert [row["answer"] for row in rows(copy / "tables" / "problems" / "split=test_svamp")] == [
        "1",
        "2",
        "0",
    ]
    reranked = rerank.read(rerank.Sources(copy), config_lib.LabelConfig())
    assert {"test_svamp", "test_svamp_greedy"} <= set(map(str, reranked))


def test_a_further_test_set_shares_no_problem_with_what_is_learnt_from(copy, tmp_path):
    learnt = rows(copy / "tables" / "problems" / "split=heldout")[0]["question"]
    (tmp_path / "svamp").mkdir()
    (tmp_path / "svamp" / "SVAMP.json").write_text(
        json.dumps([{"Body": "", "Question": learnt, "Answer": 1.0}])
    )
    with pytest.raises(errors.UserError, match="in heldout and in test_svamp"):
        run(config("ood.sets=[svamp]", f"ood.dirs=[{tmp_path / 'svamp'}]"), copy, ["sample"])


def test_prompts_beyond_the_context_are_named_and_left_out(copy, capsys, monkeypatch):
    tokenizer = load_tokenizer(copy / "generator")
    shared = config()
    lengths = sorted(
        len(tokenizer.encode(f"{row['question']}\n"))
        for row in rows(copy / "tables" / "problems" / "split=test")
    )
    for name in ("samples", "labels", "scores"):
        shutil.rmtree(copy / "tables" / name)
    shutil.rmtree(copy / "verifier")
    # as many tokens as a context holds take long
    monkeypatch.setattr(generators.Engine, "run", lambda self, prompts, *rest: [])
    room = shared.model.context - lengths[-2]  # for all but the longest
    run(config(f"sample.max_new_tokens={room}"), copy, ["sample"])
    left_out = json.loads(
        (copy / "tables" / "samples" / "split=test" / "manifest.json").read_text()
    )["left_out"]
    said = capsys.readouterr().err
    assert left_out and all(problem_id in said for problem_id in left_out)


def test_the_offline_rerank_gives_the_same_figures(finished, tmp_path):
    root, _ = finished
    sources = rerank.Sources(root)
    rerank.rerank(
        sources,
        tmp_path,
        config_lib.ReportConfig(ks=(1, 2, 4), resamples=50),
        config_lib.LabelConfig(),
        0,
    )
    there, here = (
        json.loads((folder / "metrics.json").read_text())["splits"]["test"]
        for folder in (root / "report", tmp_path)
    )
    assert there == here


def test_a_program_of_ones_own_gets_the_numbers_of_the_scores_table(finished):
    tables = finished[0] / "tables"
    question = {
        row["problem_id"]: row["question"] for row in rows(tables / "problems" / "split=test")
    }
    stored = {}
    for sample, scored in zip(
        rows(tables / "samples" / "split=test"), rows(tables / "scores" / "split=test"), strict=True
    ):
        stored.setdefault(question[sample["problem_id"]], []).append((sample, scored))
    loaded = api.load(finished[0] / "verifier")
    found = loaded.score_many(
        [(asked, [sample["tokens"] for sample, _ in pairs]) for asked, pairs in stored.items()]
    )
    for pairs, scores in zip(stored.values(), found, strict=True):
        for (sample, scored), mine in zip(pairs, scores, strict=True):
            assert mine.tokens == sample["tokens"]
            assert mine.token_values == pytest.approx(scored["token_scores"], abs=1e-5)
            assert mine.score == pytest.approx(scored["score"], abs=1e-5)


def test_known_wrong_gold_answers_are_corrected_where_that_is_asked_for(copy, capsys, monkeypatch):
    samples, problems = (
        rows(copy / "tables" / name / "split=test") for name in ("samples", "problems")
    )
    wrong = problems[0]
    known = [
        {
            "problem_id": wrong["problem_id"],
            "old": wrong["answer"],
            "new": "#12",
            "reason": "it is so",
        }
    ]
    monkeypatch.setattr(corrections, "known", lambda: known)
    before = rows(copy / "tables" / "labels" / "split=test")
    shutil.rmtree(copy / "tables" / "labels")
    run(config("label.fix_labels=true"), copy, ["label", "report"])
    manifests = {
        split: store.read_manifest(copy / "tables" / "labels" / f"split={split}")
        for split in map(str, OWN)
    }
    assert manifests["test"]["fixed_labels"] == known and manifests["train"]["fixed_labels"] == []
    assert (
        manifests["test"]["settings"]["label.fix_labels"] is True
        and manifests["test"]["not_graded"] == 0
    )
    after = rows(copy / "tables" / "labels" / "split=test")
    for sample, one, other in zip(samples, before, after, strict=True):
        own = sample["problem_id"] == wrong["problem_id"]
        assert (
            other["correct"] == (False if own else one["correct"])
            and other["answer"] == one["answer"]
        )
    assert (
        f"problem {wrong['problem_id']}: #12, not {wrong['answer']} (it is so)"
        in capsys.readouterr().err
    )
    assert stored_splits.read_workdir(copy, [TEST])[TEST].gold[wrong["problem_id"]] == "#12"
    page = (copy / "report" / "index.html").read_text()
    assert f"problem {wrong['problem_id']} from {wrong['answer']} to #12" in page
    assert [row["answer"] for row in rows(copy / "tables" / "problems" / "split=test")] == [
        row["answer"] for row in problems
    ]


def test_an_exported_generator_comes_back_the_same(finished, tmp_path):
    export.export(finished[0] / "generator", tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    again = hf_weights.load_weights(tmp_path, tokenizer_size=tokenizer.vocab_size)
    before = model_folder.load(finished[0] / "generator", "finetune", "float32")
    assert tokenizer.encode("Try 3 and <<3*4=12>>12.") == before.tokenizer.encode(
        "Try 3 and <<3*4=12>>12."
    )
    for (path, one), (_, other) in zip(
        *(nnx.to_flat_state(nnx.state(model)) for model in (before.model, again)), strict=True
    ):
        # nobody trained the rows of further ids
        rows = slice(tokenizer.vocab_size if path[-1] in ("embed", "unembed") else None)
        assert one.shape == other.shape and (one[rows] == other[rows]).all()


def test_labels_and_report_are_made_behind_an_object_store(finished, bucket):
    work = bucket / "work"
    copy_files(finished[0], work)
    for name in ("tables/labels", "report"):
        (work / name).rmtree()
    run(config(), work, ["label", "report"])
    metrics = [
        json.loads((root / "report" / "metrics.json").read_text())["splits"]
        for root in (finished[0], work)
    ]
    assert metrics[0] == metrics[1] and (work / "report/index.html").exists()
