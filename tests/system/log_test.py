"""Numbers on disk by step, and a progress line that a log file can hold."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import pathlib
import subprocess
import sys
import types

import pytest

from verifier import errors
from verifier.system import log, metric_log


@pytest.fixture(autouse=True)
def first_process():
    yield
    log.set_process(0)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_on_disk_at_once(tmp_path):
    with metric_log.MetricLog(tmp_path, "finetune") as metrics:
        metrics.write(1, {"loss": 0.5})
        assert lines(tmp_path / "finetune.jsonl") == [{"step": 1, "loss": 0.5}]
    assert list((tmp_path / "tensorboard/finetune").iterdir())


def test_resume_drops_later_lines_and_a_torn_one(tmp_path):
    with metric_log.MetricLog(tmp_path, "finetune") as metrics:
        for step in range(1, 6):
            metrics.write(step, {"loss": step})
    with (tmp_path / "finetune.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with metric_log.MetricLog(tmp_path, "finetune", first_step=4) as metrics:
        metrics.write(4, {"loss": 40})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path / "finetune.jsonl")] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 40),
    ]
    with metric_log.MetricLog(tmp_path, "finetune"):
        pass
    assert lines(tmp_path / "finetune.jsonl") == []


def test_numbers_that_json_has_no_word_for(tmp_path):
    with metric_log.MetricLog(tmp_path, "x") as metrics:
        metrics.write(1, {"loss": float("nan"), "norm": float("inf"), "rate": 0.1})
    assert lines(tmp_path / "x.jsonl") == [{"step": 1, "loss": None, "norm": None, "rate": 0.1}]


def test_other_processes_are_silent(tmp_path, capsys):
    log.set_process(1)
    log.say("hello")
    with (
        metric_log.MetricLog(tmp_path / "logs", "x") as metrics,
        log.Progress(2, "step", "x") as progress,
    ):
        metrics.write(1, {"loss": 1.0})
        progress.advance(2)
    assert not (tmp_path / "logs").exists() and capsys.readouterr().err == ""
    log.set_process(0)
    log.say("hello")
    assert capsys.readouterr().err == "hello\n"


def test_without_a_terminal_a_line_now_and_then():
    now, out = [0.0], io.StringIO()
    with log.Progress(100, "step", "verify", done=20, stream=out, clock=lambda: now[0]) as progress:
        for _ in range(80):
            now[0] += 1.0
            progress.advance(loss=0.12345, tokens_per_second=12345.6)
    written = out.getvalue().splitlines()
    assert len(written) == 6 and "\r" not in out.getvalue()
    assert (
        written[0]
        == "verify: 35/100 steps (35%), 0:15 gone, 1:05 left, loss 0.1235, tokens_per_second 12,346"
    )
    assert written[-1].startswith("verify: 100/100 steps (100%), 1:20 gone, 0:00 left")


def test_the_time_left_is_not_guessed_before_anything_is_done():
    times, stream = iter([0.0, 20.0, 40.0]), io.StringIO()
    progress = log.Progress(
        1000, "solution", "sample", done=10, stream=stream, clock=lambda: next(times)
    )
    progress.advance(0)
    assert "10/1000" in stream.getvalue() and "? left" in stream.getvalue()


def test_on_a_terminal_a_bar_with_the_time_left():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    with log.Progress(10, "step", "verify", done=4, stream=out) as progress:
        progress.advance(6, loss=0.5)
    assert (
        "verify: 100%" in out.getvalue()
        and "10/10" in out.getvalue()
        and "loss 0.5" in out.getvalue()
    )


def test_a_missing_tpu_is_no_news_and_one_that_is_not_used_is(caplog):
    jax = importlib.util.find_spec("jax")
    source = (pathlib.Path(jax.origin).parent / "_src" / "xla_bridge.py").read_text()
    # Who says it, and under which name.
    assert "Unable to initialize backend" in source and "getLogger(__name__)" in source
    bridge = logging.getLogger("jax._src.xla_bridge")
    before = bridge.level
    try:
        log.leave_out_remarks()
        with caplog.at_level(logging.INFO):  # as in a command of absl's
            bridge.info("Unable to initialize backend 'tpu'")
            bridge.warning("A Google TPU may be present on this machine")
    finally:
        bridge.setLevel(before)
    assert caplog.messages == ["A Google TPU may be present on this machine"]


def test_no_jax_comes_along():
    subprocess.run(
        [sys.executable, "-c", "import sys, verifier.system.log; assert 'jax' not in sys.modules"],
        check=True,
    )


class FakeWandb(types.ModuleType):
    """What the mirror calls of the package, with all that it is told."""

    class Error(Exception):
        pass

    def __init__(self):
        super().__init__("wandb")
        self.begun, self.lines, self.ended, self.refusal = [], [], 0, ""

    def init(self, **settings):
        if self.refusal:
            raise self.Error(self.refusal)
        self.begun.append(settings)
        return types.SimpleNamespace(
            define_metric=lambda *_, **__: None, log=self.lines.append, finish=self.finish
        )

    def finish(self):
        self.ended += 1


@pytest.fixture
def fake_wandb(monkeypatch):
    made = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", made)
    yield made
    metric_log.mirror_to_wandb("")


def test_the_same_numbers_go_to_wandb_where_that_is_asked_for(tmp_path, fake_wandb):
    folder = tmp_path / "mine" / "logs"
    with metric_log.MetricLog(folder, "verify") as metrics:
        metrics.write(1, {"loss": 1.0})
    assert not fake_wandb.begun
    metric_log.mirror_to_wandb("maths")
    with metric_log.MetricLog(folder, "verify") as metrics:
        for step in (1, 2):
            metrics.write(step, {"loss": step / 2, "norm": float("inf")})
    assert fake_wandb.lines == [
        {"step": line["step"], "loss": line["loss"]} for line in lines(folder / "verify.jsonl")
    ]
    assert fake_wandb.ended == 1
    begun = fake_wandb.begun[0]
    assert (begun["project"], begun["group"], begun["job_type"], begun["dir"]) == (
        "maths",
        "mine",
        "verify",
        str(folder),
    )


def test_a_job_that_goes_on_keeps_its_wandb_run_and_a_new_one_gets_its_own(tmp_path, fake_wandb):
    metric_log.mirror_to_wandb("maths")
    for name, first_step in (("verify", 0), ("verify", 3), ("finetune", 3), ("verify", 1)):
        with metric_log.MetricLog(tmp_path / "logs", name, first_step):
            pass
    first, resumed, other, anew = (begun["id"] for begun in fake_wandb.begun)
    assert first == resumed and len({first, other, anew}) == 3


def test_a_wandb_that_is_missing_or_refuses_is_named_with_the_way_out(
    tmp_path, fake_wandb, monkeypatch
):
    metric_log.mirror_to_wandb("maths")
    fake_wandb.refusal = "api_key not configured"
    with pytest.raises(
        errors.UserError, match=r"log.wandb='maths': .*api_key not configured.*WANDB_MODE=offline"
    ):
        metric_log.MetricLog(tmp_path, "verify")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(errors.UserError, match=r"pip install wandb, or leave log.wandb empty"):
        metric_log.mirror_to_wandb("maths")


def test_only_the_first_process_speaks_to_wandb(tmp_path, fake_wandb):
    metric_log.mirror_to_wandb("maths")
    log.set_process(1)
    with metric_log.MetricLog(tmp_path, "verify") as metrics:
        metrics.write(1, {"loss": 1.0})
    assert not fake_wandb.begun and not fake_wandb.lines


def test_what_steers_a_terminal_is_written_out(capsys):
    log.say("a\x1b[31mb\x07\x9b\u202ec\r\ud83d\td")
    log.tell("question\x1b]0;title\x07\nnext")
    log.complain(ValueError("file\x08.jsonl"))
    said = capsys.readouterr()
    assert said.err == "a\\x1b[31mb\\x07\\x9b\\u202ec\\r\\ud83d\td\nerror: file\\x08.jsonl\n"
    assert said.out == "question\\x1b]0;title\\x07\nnext\n"


def test_a_reader_that_has_read_enough_is_no_error(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="ascii") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        log.tell("é is written out where it cannot be encoded")
        log.tell("more")
