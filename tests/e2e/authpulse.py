"""Runs the program as its users do: as a process, with files."""

import os
import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXCERPT = REPOSITORY / "tests" / "data" / "auth9mo_head5k.txt.gz"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
PROGRAM = Path(os.environ.get("AUTHPULSE_BIN", REPOSITORY / TARGET / "release" / "authpulse"))
EXAMPLES = REPOSITORY / TARGET / "release" / "examples"

# Far longer than any call here takes, so that a call that hangs fails by itself.
TIMEOUT_SECONDS = 240
# How long a service that is told to stop may take to store everything and end.
STOP_SECONDS = 20


class Result:
    """The outcome of a process: its code and its output."""

    def __init__(self, command, code, stdout, stderr):
        self.command, self.code, self.stdout, self.stderr = command, code, stdout, stderr

    def __str__(self):
        return f"$ {self.command}\n(exit {self.code})\n--- stdout\n{self.stdout[-3000:]}\n--- stderr\n{self.stderr[-3000:]}"

    def count(self, word):
        """A figure of the summary, such as `curated   5,000`; 0 if it is not named."""
        found = re.search(rf"^\s*{word}\s+([\d,]+)\b", self.stdout, re.MULTILINE)
        return int(found[1].replace(",", "")) if found else 0


def attempt(*args, env=None, stdin=b"", may_abort=False, may_panic=False, **popen):
    """Runs the program, which may fail, but neither panic nor end by a signal."""
    words = [str(PROGRAM), *map(str, args)]
    done = subprocess.run(
        words, input=stdin, capture_output=True, timeout=TIMEOUT_SECONDS, env={**os.environ, **(env or {})}, **popen
    )
    result = Result(
        " ".join(words),
        done.returncode,
        done.stdout.decode("utf-8", "backslashreplace"),
        done.stderr.decode("utf-8", "backslashreplace"),
    )
    assert may_panic or "panicked" not in result.stderr, f"a panic is never an answer\n{result}"
    for message in re.findall(r"^error: .*", result.stderr, re.MULTILINE):
        pieces = [piece for piece in re.split(r"[:;] ", message) if len(piece) > 15]
        assert len(pieces) == len(set(pieces)), f"a message says each thing once\n{result}"
    assert may_abort or result.code >= 0, f"ended by signal {-result.code}\n{result}"
    return result


def run(*args, **kwargs):
    """Runs the program, which must succeed."""
    result = attempt(*args, **kwargs)
    assert result.code == 0, f"this must succeed\n{result}"
    return result


def refused(*args, names=(), **kwargs):
    """Runs the program, which must fail and say why: each of `names`, a regular expression, must be in the message."""
    result = attempt(*args, **kwargs)
    assert result.code != 0, f"this must be refused\n{result}"
    for name in names:
        assert re.search(name, result.stderr), f"the message must name {name!r}\n{result}"
    return result


def last_error(result):
    """The error that ended the program; what to do about it may follow in a line of its own."""
    return [line for line in result.stderr.splitlines() if line.startswith("error: ")][-1]


def start(*args, program=PROGRAM, **popen):
    """Starts the program, or another one of the same name, in the background."""
    return subprocess.Popen([str(program), *map(str, args)], stdin=subprocess.DEVNULL, **popen)
