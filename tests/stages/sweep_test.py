"""A sweep makes every result once, links what is shared, goes on after a kill, and ends each
variant as if it had run alone.
"""

import collections
import json
import shutil

import pytest

from experiments import tiny_losses
from tests.shrunk import config, rows, run
from verifier import errors, launch
from verifier.recipes import distill, token_verifier
from verifier.run import experiment, workdir
from verifier.stages import runner, sweep
from verifier.system import checksums

THEMES = {
    "losses": {"solution": ["verify.level=solution"], "bce": ["verify.value_loss=bce"]},
    "generator": {
        "more": ["finetune.epochs=3"],
        "more_bce": ["finetune.epochs=3", "verify.value_loss=bce"],
    },
    "samples": {
        "hot": ["sample.temperature=1.0"],
        "many": ["sample.test_samples=9"],
        "fewer": ["data.train_problems=40"],
    },
    "judges": {"strict": ["label.grader=strict"], "solution": ["verify.level=solution"]},
}


class Fake:
    """Makes manifests instead of results, by the rule of every workdir, and counts them."""

    def __init__(self, dies_after=None):
        self.made, self.left = collections.Counter(), dies_after

    def __call__(self, stages, config, root, names):
        workdir.refuse_other_settings(stages, root, config)
        for stage in stages:
            for split, folder in stage.results(root).items():
                own = stage.settings(config, split)
                if not workdir.is_done(folder, own):
                    if self.left == sum(self.made.values()):
                        raise KeyboardInterrupt
                    checksums.write_sealed(folder / "manifest.json", {"settings": own})
                    follows = sweep.follows_from(config, stage, split)
                    self.made[(stage.name, split, follows)] += 1


def run_fake(root, fake, themes=THEMES, seeds=(0, 1), only=()):
    variants = sweep.check(config(), token_verifier.stages, themes, seeds, root)
    sweep.run(variants, {theme: themes[theme] for theme in only or themes}, root, ["label"], fake)
    return variants


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that was left alone: its folder, what it made and its variants. Nobody changes it."""
    root, fake = tmp_path_factory.mktemp("whole"), Fake()
    return root, fake, run_fake(root, fake)


def test_every_result_is_made_once_whichever_variants_want_it(whole):
    root, fake, variants = whole
    assert set(fake.made.values()) == {1}
    made = collections.Counter(stage for stage, _, _ in fake.made)
    assert made["finetune"] == 2 * 3  # of each seed: base, more, fewer
    assert made["verify"] == 2 * 8  # all but many, which only tests more
    wanted = {
        (stage.name, split, sweep.follows_from(each.config, stage, split))
        for of_seed in variants
        for each in of_seed
        for stage in each.stages
        for split in stage.results(each.root)
    }
    assert set(fake.made) == wanted
    one = root / "seed=0"
    assert (one / "solution" / "generator").resolve() == one / "base" / "generator"
    assert (
        one / "more_bce" / "tables" / "samples" / "split=test"
    ).resolve() == one / "more" / "tables" / "samples" / "split=test"
    assert (
        not (one / "more" / "generator").is_symlink()
        and not (one / "solution" / "verifier").is_symlink()
    )
    assert (one / "many" / "verifier").is_symlink() and (
        one / "many" / "tables" / "scores" / "split=heldout"
    ).is_symlink()
    assert not (one / "many" / "tables" / "samples" / "split=test").is_symlink()
    assert (one / "strict" / "tables" / "samples" / "split=train").is_symlink()
    assert not (one / "strict" / "verifier").is_symlink()


def test_all_labels_are_of_one_store_and_those_of_steps_of_the_same_rollouts(tmp_path):
    themes, fake = experiment.load_themes("tiny_labels"), Fake()
    run_fake(tmp_path, fake, themes, (0,))
    made = collections.Counter(stage for stage, _, _ in fake.made)
    verifiers = 1 + 4 + 4  # `aggregations` needs none beside those of `labels`
    assert made == {
        "problems": 3,  # splits
        "finetune": 1,
        "sample": 4,
        "label": 4,
        "rollouts": 1,
        "verify": verifiers,
        "score": 2 * verifiers,
    }
    steps, one = "tables/steps/split=train", tmp_path / "seed=0"
    assert (one / "soft_at_ends" / steps).resolve() == one / "hard" / steps
    assert not (one / "prefix" / steps).exists()


@pytest.mark.parametrize("dies_after", [5, 40])
def test_a_killed_sweep_makes_only_what_is_missing(whole, tmp_path, dies_after):
    first, second = Fake(dies_after), Fake()
    with pytest.raises(KeyboardInterrupt):
        run_fake(tmp_path / "killed", first)
    run_fake(tmp_path / "killed", second)
    assert first.made + second.made == whole[1].made


def test_a_variant_that_reads_other_files_shares_nothing(tmp_path):
    run_fake(tmp_path, Fake(), {"data": {"elsewhere": ["data.dir=/elsewhere"]}}, (0,))
    assert not any(path.is_symlink() for path in (tmp_path / "seed=0" / "elsewhere").rglob("*"))


def test_one_variant_of_a_theme_can_be_named():
    assert launch._chosen(THEMES, "losses.bce") == {"losses.bce": {"bce": THEMES["losses"]["bce"]}}
    assert (
        launch._chosen(THEMES, "losses") == {"losses": THEMES["losses"]}
        and launch._chosen(THEMES, "") == THEMES
    )
    dotted = {"v1": {"a": []}, "v1.5": {"b.c": [], "d": []}}
    assert launch._chosen(dotted, "v1.5") == {"v1.5": dotted["v1.5"]} and launch._chosen(
        dotted, "v1.a"
    ) == {"v1.a": dotted["v1"]}
    assert launch._chosen(dotted, "v1.5.b.c") == {"v1.5.b.c": {"b.c": []}}


def test_names_of_several_words_are_lawful(tmp_path):
    ((_, variant),) = sweep.check(
        config(),
        token_verifier.stages,
        {"two epochs": {"of the verifier": ["verify.epochs=2"]}},
        [0],
        tmp_path,
    )
    assert variant.root == tmp_path / "seed=0" / "of the verifier"


def test_a_theme_that_is_run_later_takes_what_is_there_and_a_dead_link_is_made_anew(tmp_path):
    themes = {
        "generator": {"more": ["finetune.epochs=3"]},
        "new": {"new": ["finetune.epochs=3", "verify.level=solution"]},
    }
    run_fake(tmp_path, Fake(), themes, (0,), ["generator"])
    assert not (tmp_path / "seed=0" / "new").exists()
    fake = Fake()
    run_fake(tmp_path, fake, themes, (0,), ["new"])
    assert {stage for stage, _, _ in fake.made} == {"verify", "score"}
    generator = tmp_path / "seed=0" / "more" / "generator"
    (generator / "manifest.json").unlink()
    generator.rmdir()
    again = Fake()
    run_fake(tmp_path, again, themes, (0,), ["new"])
    assert [stage for stage, _, _ in again.made] == ["finetune"]


def test_results_of_other_settings_are_refused_and_never_shared(tmp_path):
    run_fake(tmp_path, Fake(), seeds=(0,))
    with pytest.raises(errors.WorkdirError, match=r"finetune\.learning_rate"):
        variants = sweep.check(
            config("finetune.learning_rate=0.5"), token_verifier.stages, THEMES, [0], tmp_path
        )
        sweep.run(variants, THEMES, tmp_path, ["label"], Fake())


@pytest.mark.parametrize(
    ("themes", "message"),
    [
        ({"a": {"one": ["sample.temprature=1"]}}, r"'one'.*sample\.temperature"),
        ({"a": {"one": ["verify.level=word"]}}, r"'one'.*verify\.level='word'"),
        (
            {"a": {"one": ["verify.epochs=1"]}, "b": {"one": ["verify.epochs=2"]}},
            "'one' of the theme 'b'",
        ),
        ({"a": {"base": ["verify.epochs=1"]}}, "'base'"),
        ({"a": {"none": ["verify.epochs=0"]}}, "'none': verify.epochs=0.0 .* not be trained"),
        ({"a": {"one": ["seed=1"]}}, "'one' assigns a seed"),
        ({"a": {"../one": ["verify.epochs=2"]}}, r"'\.\./one' cannot name"),
        ({"a": {"..": ["verify.epochs=2"]}}, r"'\.\.' cannot name"),
        ({"a": {"": ["verify.epochs=2"]}}, "'' cannot name"),
        ({"a": {"one ": ["verify.epochs=2"]}}, "'one ' cannot name"),
        ({"a": {"x" * 300: ["verify.epochs=2"]}}, "cannot name"),
        ({"../a": {"one": ["verify.epochs=2"]}}, r"'\.\./a' cannot name"),
    ],
)
def test_a_sweep_that_cannot_be_run_is_refused_before_anything_is_written(
    tmp_path, themes, message
):
    with pytest.raises(errors.ConfigError, match=message):
        sweep.check(config(), token_verifier.stages, themes, [0], tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_variant_of_a_sweep_ends_as_one_that_ran_alone(finished, tmp_path, capsys):
    themes = {"losses": {"solution": ["verify.level=solution"]}}
    shutil.copytree(finished[0], tmp_path / "sweep" / "seed=0" / "base")
    variants = sweep.check(config(), token_verifier.stages, themes, [0], tmp_path / "sweep")
    sweep.run(variants, themes, tmp_path / "sweep", None, runner.run)
    printed = capsys.readouterr().out
    swept, alone = variants[0][1].root, tmp_path / "alone"
    assert (swept / "generator").is_symlink() and not (swept / "verifier").is_symlink()
    run(config("verify.level=solution"), alone)
    for name in ("samples", "labels", "scores"):
        table = f"tables/{name}/split=test"
        assert rows(swept / table) == rows(alone / table)
    found = json.loads((tmp_path / "sweep" / "compare" / "losses" / "comparison.json").read_text())
    own = found["splits"]["test"]["solution"]
    metrics = json.loads((swept / "report" / "metrics.json").read_text())["splits"]["test"]
    for name in ("best_of_n", "majority", "greedy_accuracy", "mean_sample_accuracy"):
        assert own["figures"][name]["value"] == metrics[name]["value"]
    assert "majority" not in own["differences"]  # the samples are shared: no estimate
    assert "solution" in printed.rpartition("losses\n")[2] and "comparison.json" in printed
    side = json.loads(
        (tmp_path / "sweep" / "compare" / "losses" / "page" / "comparison.json").read_text()
    )["runs"]
    assert [each["name"] for each in side] == ["base", "solution"]
    assert side[1]["methods"]["best_of_n"]["value"] == metrics["best_of_n"]["value"]
    assert (tmp_path / "sweep" / "compare" / "losses" / "page" / "index.html").is_file()


def test_students_that_are_tested_in_places_are_compared_by_their_held_out_losses(tmp_path, capsys):
    own, themes = tiny_losses.get_config(), tiny_losses.get_sweep()
    variants = sweep.check(own, distill.stages, themes, [0, 1], tmp_path)
    for variant in (each for of_seed in variants for each in of_seed):
        values = [0.9, 0.4, 0.3] if variant.name == "match_distribution" else [0.9, 0.5, 0.4]
        logs = variant.root / "student" / "logs"
        logs.mkdir(parents=True)
        lines = [{"step": n, "heldout_lm": value} for n, value in enumerate(values, 1)]
        if variant.name != "match_spans":  # which was not run
            (logs / "finetune.jsonl").write_text("\n".join(map(json.dumps, lines)))
    sweep.compare("losses", [sweep.BASE, *themes["losses"]], variants, tmp_path / "out")
    found, heldout = (
        json.loads((tmp_path / "out" / f"{name}.json").read_text())
        for name in ("comparison", "heldout")
    )
    (terms,) = heldout.values()
    assert set(terms["lm"]) == {"base", "match_distribution"} and not found["splits"]
    assert [each["reaches_base"] for each in terms["lm"]["match_distribution"].values()] == [2, 2]
    said = capsys.readouterr()
    assert "finetune (student): held-out lm" in said.out + said.err
