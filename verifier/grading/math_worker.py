"""The process in which math-verify grades: a question a line in, two lines out.

The process imports nothing of this project, which starts it. The first line is the text that was
read and the verdict; the second is the answer's value, which may take longer than the verdict or
fail.

math-verify evaluates what a model wrote, and `9^{9^{9^9}}` keeps it busy for ever. Its own time
limit is an alarm that a thread cannot set and that C code does not heed
(huggingface/Math-Verify#55), so it is switched off here; the limit is the system's: a process that
has computed for SECONDS over one question is ended, whatever it is doing. Only time spent computing
counts, so a verdict does not depend on what else the machine is doing.

    python -P math_worker.py SECONDS
"""

import json
import logging
import os
import signal
import sys

_DIGITS = 50  # a number with more is told by the text it was read from alone


def main() -> None:
    """Reads questions until there are no more.

    The first line out says that the process is ready.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # what a library prints must not be taken for an answer
    # Ctrl-C in the terminal is for the run; the end of the questions ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)  # a warning a call that the alarm is off
    from math_verify import parse, verify  # in here: the seconds that it takes are no question's

    seconds = float(sys.argv[1])
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        text, gold = json.loads(line)
        # SIGPROF ends a process that does not handle it
        signal.setitimer(signal.ITIMER_PROF, seconds)
        parsed = parse(text, parsing_timeout=None)
        correct = bool(parsed) and verify(
            parse(gold, parsing_timeout=None), parsed, timeout_seconds=None
        )
        print(json.dumps([_read_from(parsed), correct]), file=answers, flush=True)
        value = _value(parsed)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps([value]), file=answers, flush=True)


def _read_from(parsed: list) -> str | None:
    """The text that math-verify took for the answer."""
    return next((each for each in parsed if isinstance(each, str)), None)


def _value(parsed: list) -> str | None:
    """The answer as a fraction, where it is one and short."""
    value = parsed[0].doit() if parsed and hasattr(parsed[0], "doit") else None
    if (
        value is None
        or not getattr(value, "is_Rational", False)
        or abs(value) > 10**_DIGITS
        or value.q > 10**_DIGITS
    ):
        return None
    return str(value)


if __name__ == "__main__":
    main()
