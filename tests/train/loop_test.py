"""A job that is killed, resumed, stopped early or driven into NaN."""

from __future__ import annotations

import contextlib
import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from tests.train import fakes
from verifier import config as config_lib
from verifier import errors
from verifier.system import allocator, log
from verifier.train import checkpoint, loop, parameters, step
from verifier.train import job as job_lib
from verifier.train.losses import value
from verifier.train.losses.contract import Loss

VALUE_LOSS = value.loss(fakes.VOCAB, lm_weight=0.0)
CONFIG = config_lib.VerifyConfig(
    batch_rows=4, learning_rate=1e-2, warmup_share=0.2, checkpoint_every=3
)


def make_job(folder, **fields):
    return loop.TrainJob(
        name="verify", logs=folder / "logs", checkpoints=folder / "checkpoints", **fields
    )


def lines(folder):
    return [json.loads(line) for line in (folder / "logs/verify.jsonl").read_text().splitlines()]


def params_id(model):
    return parameters.tree_id(nnx.state(model, nnx.Param))


def changed(config, **fields):
    return dataclasses.replace(config, **fields)


@pytest.mark.parametrize("ramp", [0.0, 0.99])  # all steps but the last: the kill is within it
def test_killed_and_resumed_equals_never_stopped(tmp_path, ramp):
    config = changed(CONFIG, dropout=0.3, dropout_ramp=ramp, accumulate=2, head_learning_rate=0.05)
    heldout = [fakes.random_batch(99)]
    whole = fakes.Judge()
    ended = loop.fit(
        whole, fakes.Stream(2, 4), VALUE_LOSS, config, make_job(tmp_path / "whole", heldout=heldout)
    )
    job = make_job(tmp_path / "parts", heldout=heldout)
    # in the middle of the second epoch, one step after a checkpoint
    with pytest.raises(KeyboardInterrupt):
        loop.fit(fakes.Judge(), fakes.Stream(2, 4, die_after=7), VALUE_LOSS, config, job)
    parts = fakes.Judge(seed=5)  # everything comes from the checkpoint, nothing from the module
    resumed = loop.fit(parts, fakes.Stream(2, 4), VALUE_LOSS, config, job)
    # what the first start took is not forgotten
    assert resumed.earlier_seconds > 0 == ended.earlier_seconds
    assert resumed._replace(earlier_seconds=0.0) == ended == loop.Fitted(8, 8, False, ended.heldout)
    assert params_id(parts) == params_id(whole)
    written = [
        [
            {k: v for k, v in line.items() if k != "tokens_per_second"}
            for line in lines(tmp_path / name)
        ]
        for name in ("whole", "parts")
    ]
    assert written[0] == written[1]
    assert [line["step"] for line in written[0]] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]


def test_a_finished_job_only_reads_its_end(tmp_path):
    first, second = fakes.Table(), fakes.Table()
    for model in (first, second):
        loop.fit(model, fakes.Stream(1, 4), fakes.TABLE_LOSS, CONFIG, make_job(tmp_path))
    assert params_id(first) == params_id(second) and len(lines(tmp_path)) == 4


def test_nothing_is_traced_after_the_first_step_and_evaluation(tmp_path, monkeypatch):
    traces = []

    def counted(model, batch, *, dropout, dropout_key, remat):
        traces.append(len(traces))
        return fakes.squared(model, batch, dropout=dropout, dropout_key=dropout_key, remat=remat)

    seen: list[int] = []
    advance = log.Progress.advance
    monkeypatch.setattr(
        log.Progress,
        "advance",
        lambda self, **numbers: (seen.append(len(traces)), advance(self, **numbers)),
    )
    config = changed(CONFIG, eval_every=2, dropout=0.1, accumulate=2)
    loop.fit(
        fakes.Table(),
        fakes.Stream(2, 4),
        fakes.made_loss(counted),
        config,
        make_job(tmp_path, heldout=[fakes.random_batch(9)] * 2),
    )
    # seen[n]: traces when the numbers of step n + 1 were read, which is a step later or before an
    # evaluation.
    assert (
        len(seen) == 8
        and seen[0] > 0
        and seen[1] == seen[0]
        and set(seen[2:]) == {seen[0] + 1} == {len(traces)}
    )


def order_of_work(folder, monkeypatch):
    """What a job of two epochs of five steps does: steps, evaluations, a checkpoint, and memory."""
    done: list[str] = []

    def noted(name, call):
        return lambda *arguments, **more: (done.append(name), call(*arguments, **more))[1]

    monkeypatch.setattr(
        allocator, "keeping", lambda: contextlib.nullcontext(lambda: done.append("given back"))
    )
    monkeypatch.setattr(checkpoint.Checkpoints, "save", noted("saved", checkpoint.Checkpoints.save))
    monkeypatch.setattr(jax, "device_get", noted("read", jax.device_get))
    compile_steps = step.compile_steps

    def compiled(*arguments):
        programs, optimiser = compile_steps(*arguments)
        return step.Programs(
            noted("step", programs.step), noted("evaluated", programs.evaluate)
        ), optimiser

    monkeypatch.setattr(step, "compile_steps", compiled)
    loop.fit(
        fakes.Table(),
        fakes.Stream(2, 5),
        fakes.TABLE_LOSS,
        changed(CONFIG, eval_every=5, checkpoint_every=0),
        make_job(folder, heldout=[fakes.random_batch(9)] * 2),
    )
    return done


def test_memory_is_given_back_where_another_kind_of_work_begins_or_has_ended(tmp_path, monkeypatch):
    """What lies free while an evaluation or a checkpoint's copy takes memory would add to it."""
    done = [name for name in order_of_work(tmp_path, monkeypatch) if name != "read"]
    settling = ["step", "given back"] * 3 + ["step"] * 2
    assert done == [*settling, *["given back", "evaluated", "evaluated", "given back"]] * 2 + [
        "given back",
        "saved",
        "given back",
    ]


def test_memory_settles_once_more_ever_more_rarely(tmp_path, monkeypatch):
    given: list[str] = []
    keeping = contextlib.nullcontext(lambda: given.append("given back"))
    monkeypatch.setattr(allocator, "keeping", lambda: keeping)
    config = changed(CONFIG, checkpoint_every=0)
    loop.fit(fakes.Table(), fakes.Stream(1, 40), fakes.TABLE_LOSS, config, make_job(tmp_path))
    # 3 steps, and once and 3 more after 10 others and after 20 others; before and behind the
    # checkpoint of the end.
    assert len(given) == 3 + 4 + 4 + 2


def test_an_accelerator_has_the_next_step_before_the_numbers_of_the_last_are_read(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "_in_host_memory", lambda: False)
    done = order_of_work(tmp_path, monkeypatch)
    steps = ["step", *["step", "read"] * 4, "read"]
    assert done == [*steps, "evaluated", "evaluated", "read"] * 2 + ["saved"]


def heldout_is(monkeypatch, losses):
    """Makes the evaluations give these losses and nothing else."""
    given = iter(losses)
    monkeypatch.setattr(Loss, "total_of_means", lambda self, means: next(given))
    monkeypatch.setattr(loop, "means", lambda terms: {})


def test_early_stopping_keeps_the_best(tmp_path, monkeypatch):
    heldout_is(monkeypatch, [5.0, 4.0, 4.5, 4.2, 1.0])
    at_step: dict[int, str] = {}
    save = checkpoint.Checkpoints.save
    monkeypatch.setattr(
        checkpoint.Checkpoints,
        "save",
        lambda self, done, params, *rest: (
            at_step.update({done: parameters.tree_id(params)}),
            save(self, done, params, *rest),
        ),
    )
    config = changed(CONFIG, eval_every=2, patience=2, keep_checkpoints=1)
    model = fakes.Table()
    ended = loop.fit(
        model,
        fakes.Stream(1, 20),
        fakes.TABLE_LOSS,
        config,
        make_job(tmp_path, heldout=[fakes.random_batch(9)]),
    )
    assert ended == loop.Fitted(8, 4, True, {"loss": 4.0})
    assert params_id(model) == at_step[4] != at_step[8]
    assert sorted(
        folder.name for folder in (tmp_path / "checkpoints").iterdir() if folder.is_dir()
    ) == ["4", "8"]
    again = fakes.Table()  # a job that ran out of patience stays so
    more = loop.fit(
        again,
        fakes.Stream(1, 20),
        fakes.TABLE_LOSS,
        config,
        make_job(tmp_path, heldout=[fakes.random_batch(9)]),
    )
    assert more._replace(earlier_seconds=0.0) == ended
    assert params_id(again) == params_id(model)


def test_the_best_outlives_a_kill_and_a_refusal(tmp_path, monkeypatch):
    """Best at step 4, killed after 7 with a checkpoint at 6, gone on until patience ends at 8."""
    heldout_is(monkeypatch, [5.0, 4.0, 4.5, 4.2])
    config = changed(CONFIG, eval_every=2, patience=2, keep_checkpoints=1, checkpoint_every=2)
    job = make_job(tmp_path, heldout=[fakes.random_batch(9)])
    with pytest.raises(KeyboardInterrupt):
        loop.fit(fakes.Table(), fakes.Stream(1, 20, die_after=7), fakes.TABLE_LOSS, config, job)
    there = tmp_path / "checkpoints"
    assert sorted(folder.name for folder in there.iterdir() if folder.is_dir()) == ["4", "6"]
    with checkpoint.Checkpoints(there) as checkpoints:
        best = parameters.tree_id(
            checkpoints.restore_params(4, nnx.state(fakes.Table(), nnx.Param))
        )
    with pytest.raises(errors.CheckpointError, match="learning_rate"):
        loop.fit(
            fakes.Table(),
            fakes.Stream(1, 20),
            fakes.TABLE_LOSS,
            changed(config, learning_rate=0.5),
            job,
        )
    assert sorted(folder.name for folder in there.iterdir() if folder.is_dir()) == ["4", "6"]
    model = fakes.Table()
    ended = loop.fit(model, fakes.Stream(1, 20), fakes.TABLE_LOSS, config, job)
    assert ended._replace(earlier_seconds=0.0) == loop.Fitted(8, 4, True, {"loss": 4.0})
    assert params_id(model) == best
    assert sorted(folder.name for folder in there.iterdir() if folder.is_dir()) == ["4", "8"]


def test_a_stream_of_other_data_is_told_with_the_folder(tmp_path):
    class Other(fakes.Stream):
        def restore(self, state):
            raise errors.UserError("the saved position has tokens=7")

    loop.fit(fakes.Table(), fakes.Stream(1, 4), fakes.TABLE_LOSS, CONFIG, make_job(tmp_path))
    with pytest.raises(
        errors.CheckpointError,
        match=r"checkpoints/4: the saved position has tokens=7 \(remove .*checkpoints\)",
    ):
        loop.fit(fakes.Table(), Other(1, 4), fakes.TABLE_LOSS, CONFIG, make_job(tmp_path))


def test_a_position_of_another_order_is_named_before_settings_are_compared(tmp_path):
    class Older(fakes.Stream):
        def state(self):
            return {"epoch": 0, **super().state()}

    loop.fit(fakes.Table(), Older(1, 4), fakes.TABLE_LOSS, CONFIG, make_job(tmp_path))
    with pytest.raises(
        errors.CheckpointError,
        match=r"checkpoints is of a version that read examples in another order.* Remove it",
    ):
        loop.fit(
            fakes.Table(),
            fakes.Stream(1, 4),
            fakes.TABLE_LOSS,
            CONFIG,
            make_job(tmp_path, facts={"id": "other"}),
        )


def test_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    def broken(position, rows):
        batch = fakes.random_batch(position, rows=rows)
        target = batch.targets["value_target"] * np.float32(np.nan if position == 6 else 1)
        return fakes.with_targets(batch, value_target=target)

    with pytest.raises(
        errors.Diverged,
        match=(
            r"step 6: loss and gradient_norm and update_norm not finite.*checkpoints/3\. Try a "
            r"lower learning_rate"
        ),
    ):
        loop.fit(
            fakes.Table(),
            fakes.Stream(1, 9, make=broken),
            fakes.TABLE_LOSS,
            CONFIG,
            make_job(tmp_path),
        )
    with checkpoint.Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert checkpoints.latest() == 3
        assert all(
            np.isfinite(leaf).all()
            for leaf in jax.tree.leaves(
                checkpoints.restore_params(3, nnx.state(fakes.Table(), nnx.Param))
            )
        )
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    loop.fit(
        fakes.Table(),
        fakes.Stream(1, 4),
        fakes.TABLE_LOSS,
        CONFIG,
        make_job(tmp_path, facts={"start": "abc"}),
    )
    with pytest.raises(
        errors.CheckpointError,
        match=r"learning_rate: 0.01 there, 0.5 now\n  start: 'abc' there, 'xyz' now",
    ):
        loop.fit(
            fakes.Table(),
            fakes.Stream(1, 4),
            fakes.TABLE_LOSS,
            changed(CONFIG, learning_rate=0.5),
            make_job(tmp_path, facts={"start": "xyz"}),
        )
    loop.fit(
        fakes.Table(),
        fakes.Stream(1, 4),
        fakes.TABLE_LOSS,
        changed(CONFIG, checkpoint_every=1),
        make_job(tmp_path, facts={"start": "abc"}),
    )


def test_checkpoints_from_before_a_knob_was_there_go_on_under_its_default(tmp_path, monkeypatch):
    ours = job_lib.settings
    without = {"verify.steps", "beta2"}
    monkeypatch.setattr(
        job_lib,
        "settings",
        lambda *given: {name: value for name, value in ours(*given).items() if name not in without},
    )
    loop.fit(
        fakes.Table(),
        fakes.Stream(1, 4),
        fakes.TABLE_LOSS,
        CONFIG,
        make_job(tmp_path, facts={"verify.steps": 0}),
    )
    monkeypatch.undo()
    with pytest.raises(errors.CheckpointError, match=r"verify\.steps: 0 there, 9 now\nRemove it"):
        loop.fit(
            fakes.Table(),
            fakes.Stream(1, 4),
            fakes.TABLE_LOSS,
            CONFIG,
            make_job(tmp_path, facts={"verify.steps": 9}),
        )
    ended = loop.fit(
        fakes.Table(),
        fakes.Stream(1, 4),
        fakes.TABLE_LOSS,
        CONFIG,
        make_job(tmp_path, facts={"verify.steps": 0}),
    )
    assert ended.steps == 4


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (changed(CONFIG, accumulate=3), {}, "accumulate=3 does not divide"),
        (
            changed(CONFIG, patience=1),
            {},
            "no held-out batches; set data.heldout_problems or verify.patience=0",
        ),
    ],
)
def test_what_cannot_work_is_said(tmp_path, config, fields, message):
    with pytest.raises(errors.ConfigError, match=message):
        loop.fit(
            fakes.Table(),
            fakes.Stream(1, 2),
            fakes.TABLE_LOSS,
            config,
            make_job(tmp_path, **fields),
        )


def test_a_term_to_watch_that_is_not_there_is_named(tmp_path):
    with pytest.raises(errors.ConfigError, match="watch is 'speed'.*loss, extra, value"):
        loop.fit(
            fakes.Table(),
            fakes.Stream(1, 2),
            fakes.made_loss(fakes.squared, watch="speed"),
            changed(CONFIG, eval_every=1),
            make_job(tmp_path, heldout=[fakes.random_batch(0)]),
        )


def test_a_job_of_no_steps_is_refused(tmp_path):
    with pytest.raises(
        errors.ConfigError,
        match="verify: the stream has no batches; give it examples and epochs > 0",
    ):
        loop.fit(fakes.Table(), fakes.Stream(0, 0), fakes.TABLE_LOSS, CONFIG, make_job(tmp_path))


def test_positive_control_a_label_that_one_token_shows(tmp_path):
    """Token 3 in a sample says right, 4 says wrong; the values after it must learn that soon."""

    def labelled(position, rows):
        batch = fakes.random_batch(position, rows=rows)
        right = np.random.default_rng(position).integers(0, 2, (rows, 1))
        cue = (batch.ends_BT == 10) & (batch.positions_BT == 1)
        tokens = np.where(
            batch.tokens_BT == 3, 5, np.where(batch.tokens_BT == 4, 5, batch.tokens_BT)
        )
        return fakes.with_targets(
            batch._replace(tokens_BT=np.where(cue, np.where(right, 3, 4), tokens).astype(np.int32)),
            value_target=np.where(batch.ends_BT == 10, right, 0).astype(np.float32),
        )

    config = changed(CONFIG, learning_rate=3e-2)
    heldout = [labelled(1000 + n, rows=16) for n in range(2)]
    ended = loop.fit(
        fakes.Judge(),
        fakes.Stream(1, 60, rows=16, make=labelled),
        VALUE_LOSS,
        config,
        make_job(tmp_path, heldout=heldout),
    )
    assert (
        ended.heldout["value_accuracy"] > 0.97
        and ended.heldout["value_right"] > 0.7
        and ended.heldout["value_wrong"] < 0.3
    )


def test_a_job_knows_files_by_what_is_in_them_not_by_where_they_lie(tmp_path):
    for kind, knob in ((config_lib.VerifyConfig, "weights"), (config_lib.PretrainConfig, "corpus")):
        job = make_job(tmp_path, facts={"inputs": {"x": "abc"}})
        one, other = (
            job_lib.settings(kind(**{knob: where}), job, "loss", 3) for where in ("/a", "/b")
        )
        assert one == other and one["inputs.x"] == "abc"
