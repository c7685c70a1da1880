"""What the program says, and what it does if nobody can read that: standard output and standard error that are full, gone or never
read; signals; the log's filter and its form for programs."""

import contextlib
import fcntl
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import termios
from datetime import datetime

import pytest

from authpulse import EXCERPT, PROGRAM, STOP_SECONDS, run, start
from fleet import handles, signals, terminate, until
from read_lake import CURATED, Lake

# /dev/full, and what the kernel says of a process in /proc.
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="macOS has neither /dev/full nor /proc")

QUICK = "[store]\nroll_age = 0.1\ncommit_interval = 0.1\n[workers]\nfollow_interval = 0.1\n"
RECORDS = 5000
# One of the records, as it is in a stream.
ONE = '"time":46,"user":"U73"'


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("output")
    (place / "quick.toml").write_text(QUICK)
    run("replay", "--input", EXCERPT, "--stream", f"local:{place / 'closed'}", "--max", "--close")
    run("backfill", "--input", EXCERPT, "--lake", place / "lake")
    return place


def ended(*words, env=None, seconds=60, **popen):
    """Runs the program with outputs that need not be pipes which are read; returns its code, and its output to those that are."""
    popen = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **popen}
    process = subprocess.Popen([str(PROGRAM), *map(str, words)], env={**os.environ, **(env or {})}, **popen)
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, (out or b"").decode(), (error or b"").decode()


@contextlib.contextmanager
def running(*words, env=None, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL), **popen):
    """The program in the background, without a terminal; nothing of it is left behind. These tests may run under `nohup`, and an
    ignored signal is inherited; here the program does not inherit it unless a test says so."""
    env = {**os.environ, **(env or {})}
    process = start(*words, env=env, start_new_session=True, preexec_fn=preexec_fn, **popen)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def gone():
    """The end of a pipe whose reader has gone away."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def full():
    """A pipe that takes nothing more, and its reader, which does not read."""
    reader, writer = os.pipe()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * size)
    fcntl.fcntl(writer, fcntl.F_SETFL, flags)
    return reader, writer


def service(place, name, *more, config="quick.toml"):
    """The arguments of a service over a stream of its own that holds the excerpt."""
    stream = f"local:{place / name}-stream"
    run("replay", "--input", EXCERPT, "--stream", stream, "--max")
    return ["consume", "--stream", stream, "--lake", place / name, "--config", place / config, *more]


def has_rows(lake, rows=RECORDS):
    """Whether so many rows are in the table."""
    with contextlib.suppress(Exception):
        return len(Lake(lake).rows(CURATED)) == rows
    return False


# --- results ----------------------------------------------------------------------------------------------------------


def commands(place, name):
    """Each command that has results, in an order in which each can run: the earlier ones make what it works on."""
    dir = place / name
    dir.mkdir()
    stream, lake = f"local:{dir / 'stream'}", ["--lake", place / "lake"]
    leases = ["--stream", f"local:{dir / 'copy'}", "--lake", dir / "consumed"]
    return [
        ["--help"],
        ["--version"],
        ["consume", "--help"],
        ["demo", "--events", "2000", "--attacks", "0", "--lake", dir / "demo"],
        ["generate", "--events", "2000", "--out", "-"],
        ["generate", "--check", EXCERPT],
        ["stream", "create", "--stream", stream],
        ["stream", "describe", "--stream", stream],
        ["replay", "--input", EXCERPT, "--stream", stream, "--max"],
        ["consume", "--stream", stream, "--lake", dir / "consumed", "--until-caught-up"],
        ["leases", "list", "--stream", stream, "--lake", dir / "consumed"],
        ["leases", "list", "--stream", stream, "--lake", dir / "consumed", "--json"],
        ["leases", "release", "--stream", stream, "--lake", dir / "consumed", "--all"],
        ["leases", "reset", "--stream", stream, "--lake", dir / "consumed"],
        ["stream", "split", "--stream", stream, "shardId-000000000000"],
        ["stream", "merge", "--stream", stream, "shardId-000000000004", "shardId-000000000005"],
        ["stream", "close", "--stream", stream],
        ["redrive", *lake, "--stream", stream, "--dry-run"],
        ["consume", "--stream", stream, "--lake", dir / "consumed", "--seal"],
        ["backfill", "--input", EXCERPT, "--lake", dir / "filled"],
        ["verify", *lake],
        ["status", *lake],
        ["status", *lake, "--json"],
        ["tables", "create", "--lake", dir / "made"],
        ["tables", "describe", *lake],
        ["tables", "describe", *lake, "--json"],
        ["tables", "check", *lake],
        ["tables", "maintain", *lake, "--dry-run"],
        ["tables", "maintain", "--lake", dir / "made", "--json"],
        ["config", "show"],
        ["config", "check", place / "quick.toml"],
    ]


@on_linux
def test_results_that_cannot_be_written_are_an_error(place):
    for words in commands(place, "full"):
        with open("/dev/full", "w") as output:
            code, _, error = ended(*words, stdout=output)
        last = error.rstrip("\n").splitlines()[-1:]
        assert code == 1 and last and last[0].startswith("error: ") and "standard output: No space left" in last[0], (words, code, error)
        assert "panicked" not in error, (words, error)
        assert sum(line.startswith("error") for line in error.splitlines()) == 1, (words, error)
    # Everything that was to be stored is stored.
    for lake in ("demo", "consumed", "filled"):
        run("verify", "--lake", place / "full" / lake)


def test_results_that_nobody_reads_are_no_error(place):
    for words in commands(place, "gone"):
        output = gone()
        code, _, error = ended(*words, stdout=output)
        os.close(output)
        assert code == 141 and "error" not in error and "panicked" not in error, (words, code, error)


# --- standard error that takes nothing -----------------------------------------------------------------------------------


def test_a_log_whose_reader_has_gone_ends_nothing(place):
    """As in `consume 2>&1 | logger` when logger ends: the service goes on, and stops in order."""
    words, both = service(place, "unheard"), gone()
    with running(*words, env={"AUTHPULSE_LOG": "debug"}, stdout=both, stderr=both) as worker:
        os.close(both)
        until(lambda: has_rows(place / "unheard"), "all rows", process=worker)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0
    run("verify", "--lake", place / "unheard")


@pytest.mark.parametrize("fault", ["AUTHPULSE_LOG", "AUTHPULSE_FAIL_ON"])
def test_a_log_that_nobody_reads_hangs_nothing(place, fault):
    """The pipe is full and its reader stopped: with lines of the log, and with a panic in a task, which is reported as well."""
    name, env = f"stopped-{fault.lower()}", {fault: {"AUTHPULSE_LOG": "debug", "AUTHPULSE_FAIL_ON": ONE}[fault]}
    words, (reader, both) = service(place, name), full()
    with running(*words, env=env, stdout=both, stderr=both) as worker:
        os.close(both)
        # A record that fails is a dead letter, after three panics.
        until(lambda: has_rows(place / name, RECORDS - (fault == "AUTHPULSE_FAIL_ON")), "all rows", process=worker)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0
    os.close(reader)
    run("verify", "--lake", place / name)


@on_linux
@pytest.mark.parametrize("way", ["replay", "tables maintain"])
def test_other_commands_stop_without_a_reader_as_well(place, way):
    reader, both = full()
    words = {
        "replay": ["--input", EXCERPT, "--stream", f"local:{place / 'slow-stream'}", "--rate", 100],
        "tables maintain": ["--lake", place / "lake", "--every", "1h", "--dry-run"],
    }[way]
    with running(*way.split(), *words, env={"AUTHPULSE_LOG": "debug"}, stdout=both, stderr=both) as process:
        os.close(both)
        terminate(process)
        # If results were lost, its code says so.
        assert process.wait(STOP_SECONDS) in (0, 1)
    os.close(reader)


@pytest.mark.parametrize("way", ["generate", "backfill", "replay", "verify"])
def test_a_terminal_that_stands_still_holds_nothing_up(place, way):
    """As after ^S: a long command does not wait for its progress bar."""
    words = {
        "generate": ["--profile", "simple", "--events", 300_000, "--out", place / "still.txt"],
        "backfill": ["--input", EXCERPT, "--lake", place / "still-lake"],
        "replay": ["--input", EXCERPT, "--stream", f"local:{place / 'still'}", "--max"],
        "verify": ["--lake", place / "lake"],
    }[way]
    master, terminal = pty.openpty()
    termios.tcflow(terminal, termios.TCOOFF)
    code, _, _ = ended(way, *words, env={"TERM": "xterm"}, stderr=terminal)
    assert code == 0
    os.close(terminal)
    os.close(master)


def test_a_bar_is_drawn_and_taken_away(tmp_path):
    master, terminal = pty.openpty()
    words = ["generate", "--profile", "simple", "--events", 300_000, "--out", tmp_path / "bar.txt"]
    process = start(*words, env={**os.environ, "TERM": "xterm"}, stderr=terminal)
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):
        while more_of_it := os.read(master, 4096):
            seen += more_of_it
    os.close(master)
    assert process.wait(60) == 0
    bar, _, after = seen.rpartition(b"\x1b[2K")
    assert b"generate" in bar and b"events, " in bar, seen[-500:]
    assert after.startswith(b"300,000 events"), after


def test_what_could_not_be_written_is_told_later(place):
    """More decisions than the queue holds while the reader has stopped: when it reads again, it is told how many are missing."""
    (place / "later.toml").write_text(f'[decisions]\nto = "log"\nmin_score = 0\n{QUICK}')
    words, (reader, error) = service(place, "later", "--log-format", "json", config="later.toml"), full()
    with running(*words, stdout=subprocess.DEVNULL, stderr=error) as worker:
        os.close(error)
        until(lambda: has_rows(place / "later"), "all rows", process=worker)
        worker.send_signal(signal.SIGTERM)
        with os.fdopen(reader, "rb") as lines:
            lines = objects(lines.read().lstrip(b"x").decode())
        assert worker.wait(STOP_SECONDS) == 0
    lines = [line["fields"] for line in lines]
    told = [re.match(r"(\d+) decisions could not be written", line["message"]) for line in lines]
    lost = sum(int(found[1]) for found in told if found)
    assert lost > 0 and lost + sum("decision" in line for line in lines) == RECORDS, (lost, len(lines))
    assert lines[0]["message"] == "started" and lines[-1]["why"] == "signal"


@on_linux
def test_a_disk_that_is_full_loses_lines_and_nothing_else(place):
    words = service(place, "full-disk", "--until-caught-up")
    with open("/dev/full", "w") as error:
        code, out, _ = ended(*words, env={"AUTHPULSE_LOG": "debug"}, stderr=error)
    assert code == 0 and out.endswith("done\n"), out
    with open("/dev/full", "w") as error:
        assert ended("status", "--lake", place / "none", stderr=error)[0] == 1
        assert ended("status", stderr=error)[0] == 2
        assert ended("config", "show", env={"AUTHPULSE_LOG": "wran"}, stderr=error)[0] == 2


# --- signals --------------------------------------------------------------------------------------------------------------


@on_linux
def test_signals_that_mean_nothing_end_nothing(place):
    words, log = service(place, "signals"), place / "signals.log"
    with running(*words, stdout=subprocess.DEVNULL, stderr=log.open("w")) as worker:
        until(lambda: has_rows(place / "signals"), "all rows", process=worker)
        for sent in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGXFSZ, signal.SIGHUP):
            worker.send_signal(sent)
        run("replay", "--input", more(place), "--stream", f"local:{place / 'signals'}-stream", "--max")
        until(lambda: len(Lake(place / "signals").rows(CURATED)) > RECORDS, "what came after them", process=worker)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
    for words in (
        ["replay", "--input", EXCERPT, "--stream", f"local:{place / 'paced'}", "--rate", 100],
        ["tables", "maintain", "--lake", place / "lake", "--every", "1h"],
    ):
        with running(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            until(lambda: handles(process, signal.SIGHUP), "the handling of signals", process=process)
            for sent in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGXFSZ):
                process.send_signal(sent)
            assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            assert process.wait(STOP_SECONDS) == 0, "a hang-up is an orderly stop"


def more(place):
    path = place / "more.txt"
    path.write_text("".join(f"{400 + n},U{n},C1\n" for n in range(50)))
    return path


def test_a_limit_of_file_sizes_is_a_write_that_fails(place):
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    code, _, error = ended("generate", "--profile", "simple", "--events", 9000, "--out", place / "limited.txt", preexec_fn=limit)
    assert code == 1 and "File too large" in error and "panicked" not in error, error
    with open(place / "limited.out", "w") as output:
        code, _, error = ended("generate", "--profile", "simple", "--events", 9000, "--out", "-", stdout=output, preexec_fn=limit)
    assert code == 1 and "File too large" in error and "panicked" not in error, error


def rotated(place, name):
    decisions = place / f"{name}.jsonl"
    (place / f"{name}.toml").write_text(f'[decisions]\nto = "file:{decisions}"\nmin_score = 0\n{QUICK}')
    return decisions, place / f"{name}.toml"


def decided(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@on_linux
def test_a_hang_up_opens_the_decisions_file_anew(place):
    decisions, config = rotated(place, "rotated")
    stream, old, log = f"local:{place / 'rotated'}-stream", place / "rotated.jsonl.1", place / "rotated.log"
    words = service(place, "rotated", config=config.name)
    before = config.read_text()
    with running(*words, stdout=subprocess.DEVNULL, stderr=log.open("w")) as worker:
        until(lambda: len(decided(decisions)) == RECORDS, "all decisions", process=worker)
        # As logrotate does: renames the file, makes an empty one under its name, and signals the service.
        decisions.rename(old)
        decisions.touch()
        # Settings are not read again.
        config.write_text("nonsense")
        worker.send_signal(signal.SIGHUP)
        opened = lambda path: str(path) in opened_files(worker)
        until(lambda: opened(decisions) and not opened(old), "the new file", process=worker)
        run("replay", "--input", more(place), "--stream", stream, "--max")
        until(lambda: len(decided(decisions)) == 50, "decisions in the new file", process=worker)
        assert len(decided(old)) == RECORDS
        # If the new file cannot be opened, the old one stays open, and the service says so.
        decisions.rename(old)
        decisions.mkdir()
        worker.send_signal(signal.SIGHUP)
        until(lambda: "the one that is open is written on" in log.read_text(), "a warning", process=worker)
        assert opened(old) and worker.poll() is None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
    config.write_text(before)


def descriptors(process):
    with contextlib.suppress(FileNotFoundError):
        return os.listdir(f"/proc/{process.pid}/fd")
    return []


def opened_files(process):
    found = set()
    for fd in descriptors(process):
        # It may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{process.pid}/fd/{fd}"))
    return found


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_comes_before_anything_else_ends_a_service_in_order(place, sent):
    """The signal is pending already when the program begins; a command that has no orderly end is ended by it."""

    def waiting():
        signal.signal(sent, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, {sent})
        os.kill(os.getpid(), sent)

    words = service(place, f"early-{sent}")
    master, terminal = pty.openpty()
    # On a terminal a hang-up ends a service as well.
    code, _, error = ended(*words, "--log-format", "json", preexec_fn=waiting, stdin=terminal)
    os.close(terminal)
    os.close(master)
    (end,) = [line["fields"] for line in objects(error) if line["fields"]["message"] == "ended"]
    assert code == 0 and (end["why"], end["signal"]) == ("signal", sent.name), error
    code, out, _ = ended("replay", "--input", EXCERPT, "--stream", f"local:{place / f'early-{sent}'}-replayed", preexec_fn=waiting)
    assert code == 0 and "stopped; run the same command again to go on" in out, out
    code, out, _ = ended("verify", "--lake", place / "lake", preexec_fn=waiting)
    assert code == -sent, (code, out)


@on_linux
def test_a_hang_up_that_is_ignored_stays_so(place):
    """As under `nohup`; and on a terminal, a service ends in order."""
    ignore = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    words = service(place, "nohup")
    with running(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=ignore) as worker:
        until(lambda: handles(worker, signal.SIGTERM), "the handling of signals", process=worker)
        assert int(signals(worker, "SigIgn"), 16) >> (signal.SIGHUP - 1) & 1, "it is ignored still"
    master, terminal = pty.openpty()
    with running(*words, stdout=subprocess.DEVNULL, stderr=terminal) as worker:
        os.close(terminal)
        until(lambda: has_rows(place / "nohup"), "all rows", process=worker)
        worker.send_signal(signal.SIGHUP)
        assert worker.wait(STOP_SECONDS) == 0
    os.close(master)


# --- the log ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["wran", "info,wran", "authpulse=wran", "toki=debug", "authpuls=info"])
def test_a_filter_that_would_hide_lines_by_mistake_is_refused(place, text):
    for words in (["config", "show"], ["consume", "--stream", f"local:{place / 'x'}", "--lake", place / "filtered"]):
        code, out, error = ended(*words, env={"AUTHPULSE_LOG": text})
        assert code == 2 and out == "" and "AUTHPULSE_LOG=" in error and "warn" in error, (code, error)
    assert not (place / "filtered").exists()


@pytest.mark.parametrize("form, level", [("text", "off"), ("json", "warn"), ("text", None)])
def test_decisions_are_no_log_lines(place, level, form):
    (place / "logged.toml").write_text('[decisions]\nto = "log"\nmin_score = 51\n')
    lake = place / f"logged-{form}-{level}"
    env = {} if level is None else {"AUTHPULSE_LOG": level}
    words = ["--log-format", form, "backfill", "--input", EXCERPT, "--lake", lake, "--config", place / "logged.toml"]
    code, _, error = ended(*words, env=env)
    assert code == 0, error
    lines = [json.loads(line) for line in error.splitlines() if line.startswith("{")]
    if form == "json":
        assert len(lines) == len(error.splitlines())
        lines = [line["fields"]["decision"] for line in lines if "decision" in line["fields"]]
    rows = {row["event_id"] for row in Lake(lake).rows(CURATED) if row["risk_score"] >= 51}
    assert len(rows) > 10 and sorted(line["event_id"] for line in lines) == sorted(rows)


def objects(text):
    """Checks that every line is an object that says where it comes from, and that no text within it is another object."""

    def strings(value):
        if isinstance(value, dict):
            return [text for inner in value.values() for text in strings(inner)]
        if isinstance(value, list):
            return [text for inner in value for text in strings(inner)]
        return [value] if isinstance(value, str) else []

    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        assert {"timestamp", "level", "fields", "worker", "host", "app", "stream"} <= set(line), line
        assert line["worker"] and line["host"], line
        datetime.fromisoformat(line["timestamp"])
        for inner in strings(line):
            assert not inner.startswith(("{", "[")) and "\x1b" not in inner, line
    return lines


def test_every_line_for_programs_is_an_object(place):
    """Over a run with panics, one with an error, one that is told to stop, and invalid command lines."""
    (place / "json.toml").write_text(f'[decisions]\nto = "log"\nmin_score = 90\n{QUICK}')
    words = service(place, "json", "--log-format", "json", config="json.toml")
    env, log = {"AUTHPULSE_LOG": "info", "AUTHPULSE_FAIL_ON": ONE}, place / "json.log"
    with running(*words, env=env, stdout=subprocess.DEVNULL, stderr=log.open("w")) as worker:
        until(lambda: "committed to the tables" in log.read_text(), "a commit", process=worker)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
    lines = objects(log.read_text())
    first, last = lines[0]["fields"], lines[-1]["fields"]
    assert first["message"] == "started" and first["version"] and first["build"] and len(first["configuration"]) == 12, first
    assert (first["stream"], first["lake"], first["app"]) == (words[2], str(words[4]), str(words[4]))
    assert (last["message"], last["why"], last["signal"]) == ("ended", "signal", "SIGTERM")
    assert {line["worker"] for line in lines} == {lines[0]["worker"]} and {line["stream"] for line in lines} == {words[2]}
    said = "\n".join(line["fields"]["message"] for line in lines)
    for words_of in ("panicked at", "rebuilding the shard", "stopping: storing", "committed to the tables", "working on shard"):
        assert words_of in said, (words_of, said)
    for more_words, why in ((["--until-caught-up"], "caught up"), (["--seal"], "sealed")):
        code, _, error = ended(*words, *more_words, env={"AUTHPULSE_LOG": "info"})
        lines = objects(error)
        assert code == 0 and lines[-1]["fields"]["why"] == why, error
        assert why == "sealed" or any("took the shard over" in line["fields"]["message"] for line in lines), error
    code, _, error = ended("--log-format", "json", "consume", "--stream", f"local:{place / 'closed'}", "--lake", place / "json")
    lines = objects(error)
    assert code == 0, error
    for wrong, code in (
        (["consume", "--stream", "local:/nowhere", "--lake", place / "nowhere"], 1),
        (["consume", "--stream", "local:/nowhere"], 2),
        (["nonsense"], 2),
        ([], 2),
    ):
        found, out, error = ended("--log-format", "json", *wrong)
        lines = objects(error)
        assert found == code and out == "" and lines[-1]["level"] == "ERROR" and lines[-1]["fields"]["message"], error
        assert code == 2 or lines[-2]["fields"]["why"] == "error", error


def test_an_error_says_what_to_do(place):
    """Unless its words say what to change: for people in a line of its own, for programs in two fields."""
    lake = place / "helped"
    run("backfill", "--input", EXCERPT, "--lake", lake)
    for name in ("journal.db-wal", "journal.db-shm"):
        (lake / name).unlink(missing_ok=True)
    (lake / "journal.db").write_bytes(b"no database at all " * 1000)
    again = ["backfill", "--input", EXCERPT, "--lake", lake]
    code, _, error = ended(*again)
    *_, said, advice = error.splitlines()
    assert code == 1 and said.startswith("error: ") and "journal.db" in said, error
    assert advice.startswith("help: ") and "restore" in advice, error
    nowhere = ["consume", "--stream", "local:/nowhere", "--lake", place / "nowhere"]
    for words, remedy, told in ((again, "restore", advice.removeprefix("help: ")), (nowhere, "correct", None)):
        code, _, error = ended("--log-format", "json", *words)
        fields = objects(error)[-1]["fields"]
        assert (code, fields["remedy"], fields.get("help")) == (1, remedy, told), error


def test_the_end_says_why_whatever_it_is(place):
    """Also for a panic of the command itself, and a configuration that cannot be read."""
    words = service(place, "ends", "--log-format", "json")
    code, _, error = ended(*words, env={"AUTHPULSE_FAIL_AT": "service begin"})
    last = objects(error)[-1]["fields"]
    assert code == 101 and (last["message"], last["why"]) == ("ended", "panic"), error
    (place / "wrong.toml").write_text("[store]\nroll_age = 'no'\n")
    words[words.index(place / "quick.toml")] = place / "wrong.toml"
    code, _, error = ended(*words)
    lines = [line["fields"] for line in objects(error)]
    assert code == 1 and not any(line["message"] == "started" for line in lines), error
    (end,) = [line for line in lines if line["message"] == "ended"]
    assert end["why"] == "error" and "wrong.toml" in end["error"], error


def test_many_late_and_invalid_records_are_told_once(place):
    path, stream = place / "rejected.txt", f"local:{place / 'rejected'}"
    path.write_text("".join(f"{1000 + n},U{n % 50},C1\n" if n % 5 else f"junk {n}\n" for n in range(3000)))
    run("replay", "--input", path, "--stream", stream, "--shards", 2, "--max", "--close")
    (place / "rejected.toml").write_text("[store]\nroll_rows = 100\n")
    code, _, error = ended("consume", "--stream", stream, "--lake", place / "rejected-lake", "--config", place / "rejected.toml")
    told = [line for line in error.splitlines() if "late or invalid" in line]
    assert code == 0 and len(told) == 1 and "WARN" in told[0] and "invalid=" in told[0] and "shard=shardId-" in told[0], error
    assert "\x1b" not in error, "no colours where nobody sees them"


def test_a_terminal_has_colours_unless_it_is_asked_not_to(place):
    for env, wanted in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        master, terminal = pty.openpty()
        process = start("consume", env={**os.environ, "TERM": "xterm", **env}, stderr=terminal)
        os.close(terminal)
        assert process.wait(60) == 2
        with os.fdopen(master, "rb", 0) as seen:
            assert (b"\x1b[" in seen.read(4096)) == wanted, env
