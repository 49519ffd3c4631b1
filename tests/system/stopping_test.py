"""A signal is heeded wherever it comes: at the next step of a loop that saves, at once elsewhere,
with one line and never a traceback.
"""

import signal
import subprocess
import sys

import pytest

from tests.shrunk import ROOT

START = (
    "from verifier.system import atomic, stopping; stopping.listen(goes_on={}); "
    "import pathlib, time\n"
)
READY = "print('ready', flush=True)\n"
LOOP = (
    "with stopping.saving():\n"
    "    assert not stopping.asked()\n"
    "    print('ready', flush=True)\n"
    "    while not stopping.asked():\n"
    "        time.sleep(0.01)\n"
)
# One call that does not come back, as a compiler's.
BUSY = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)\n"
DEAF = (
    "with stopping.saving():\n    stopping.asked()\n    print('ready', flush=True)\n    "
    "time.sleep(60)\n"
)
COLLECTING = (
    "import gc\n"
    # Where an exception that a handler raises would be lost.
    "gc.callbacks.append(lambda *_: time.sleep(0.001))\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    gc.collect()\n"
)


def ended(code, *signals, goes_on=True, cwd=None):
    """Status and standard error of a program that is sent signals once it is ready."""
    command = [sys.executable, "-c", START.format(goes_on) + code]
    environment = {"PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert run.stdout.readline() == "ready\n"
    for number in signals:
        run.send_signal(number)
        if len(signals) > 1:
            with (
                pytest.raises(subprocess.TimeoutExpired)
                if number is signals[0]
                else pytest.MonkeyPatch.context()
            ):
                run.wait(timeout=0.3)
    said = run.communicate(timeout=30)[1]
    return run.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", [READY + BUSY, COLLECTING], ids=["busy", "collecting"])
def test_what_saves_nothing_ends_at_once(code, number):
    assert ended("stopping.say_what('label')\n" + code, number) == (
        75,
        "stopped: label; the same command goes on from here\n",
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_tool_ends_with_the_status_of_the_signal(number):
    assert ended(READY + BUSY, number, goes_on=False) == (128 + number, "stopped\n")


def test_a_loop_that_saves_goes_on_to_its_next_step():
    assert ended(LOOP + "print('saved', file=__import__('sys').stderr)", signal.SIGINT) == (
        0,
        "saved\n",
    )


def test_a_second_signal_ends_everything_at_once():
    assert ended(DEAF, signal.SIGTERM, signal.SIGINT) == (130, "stopped\n")


def test_nothing_half_written_is_left(tmp_path):
    code = (
        "with atomic.whole_file(pathlib.Path('a')) as file: file.write(b'half'); "
        "print('ready', flush=True); time.sleep(60)\n"
    )
    assert ended(code, signal.SIGINT, goes_on=False, cwd=tmp_path)[0] == 130
    assert list(tmp_path.iterdir()) == []
