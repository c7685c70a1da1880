"""Processes end at the worst instants and start again: the result is the rows of an undisturbed run, and nothing else.

`AUTHPULSE_KILLS` sets how many processes are killed at random instants, a quarter of them each of `replay`, `consume`,
`backfill` and `demo`; `AUTHPULSE_SEED` sets at which instants.
"""

import contextlib
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter

import pytest

import nasty
from authpulse import STOP_SECONDS, TIMEOUT_SECONDS, attempt, run, start
from read_lake import TABLES, Lake, assert_same

KILLS = int(os.environ.get("AUTHPULSE_KILLS", "100"))
KILLS_OF_EACH = -(-KILLS // 4)
SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
LONG = KILLS > 100

# The points at which the program can be made to end itself.
POINTS = [
    "entry put before",
    "entry put after",
    "raw rename before",
    "raw rename after",
    "snapshot before",
    "snapshot after",
    *(f"table swap {when}:{table}" for when in ("before", "after") for table in TABLES),
]
# One life after another on one lake. Each ends when it comes to the point for the given number of times. The same point twice in
# a row: what the second life finds is what the first one left half done.
LIVES = (1, 1, 3, 2, 8) if LONG else (1, 1, 3)

# Instants are drawn over the shortest of so many undisturbed runs: one slow run would put many of them after the
# end.
MEASUREMENTS = 3
WAYS = ["backfill", "consume", "demo"]
SHARDS = 3

# Small entries and frequent commits give many instants at which to end. An age of 0 stores an entry after each read,
# and a read brings at most 100 records, or one of the files of a backfill.
CONFIG = """\
[store]
roll_rows = 100
roll_age = 0
commit_interval = 0.05
snapshot_rows = {snapshot_rows}
[run]
read_records = 100
poll_interval = 0.01
"""


class Place:
    """An input, and the commands of each way from it into a lake."""

    def __init__(self, directory, events, days, files, snapshot_rows):
        self.directory = directory
        self.text = directory / "nasty.txt"
        nasty.write(self.text, seed=2, users=14, events=events, days=days)
        self.config = directory / "small.toml"
        self.config.write_text(CONFIG.format(snapshot_rows=snapshot_rows))
        self.files = self._cut(files)
        self.closed_stream = directory / "closed-stream"
        run(*self.replay(self.closed_stream))
        self._undisturbed = {}

    def _cut(self, files):
        """The same lines in several files, in order."""
        # At line feeds alone, which is where the program ends a line.
        lines = re.findall(rb"[^\n]*\n|[^\n]+$", self.text.read_bytes())
        size = -(-len(lines) // files)
        paths = []
        for first in range(0, len(lines), size):
            path = self.directory / f"part-{len(paths):03}.txt"
            path.write_bytes(b"".join(lines[first : first + size]))
            paths.append(path)
        return paths

    def replay(self, stream):
        """Small appends: many instants between them."""
        words = ["--shards", SHARDS, "--max", "--batch-size", 100, "--close"]
        return ["replay", "--input", self.text, "--stream", f"local:{stream}", *words]

    def consume(self, lake, stream):
        return ["consume", "--stream", f"local:{stream}", "--lake", lake, "--config", self.config]

    def command(self, way, lake):
        """A way into a lake in one command; `consume` reads the stream that was filled and closed before."""
        if way == "consume":
            return self.consume(lake, self.closed_stream)
        source = {
            "backfill": ["--input", *self.files, "--raw"],
            "demo": ["--input", self.text, "--shards", SHARDS],
        }
        return [way, *source[way], "--lake", lake, "--config", self.config]

    def undisturbed(self, way):
        """The lake of an undisturbed run."""
        if way not in self._undisturbed:
            lake = self.directory / f"undisturbed-{way}"
            run(*self.command(way, lake))
            self._undisturbed[way] = Lake(lake)
        return self._undisturbed[way]

    def go_on(self, way, lake):
        """Runs to the end, after a kill."""
        again = attempt(*self.command(way, lake))
        assert again.code == 0 or says_complete(way, again.stderr), again

    def expect_same(self, way, lake, what):
        """Checks that both readers find the undisturbed run's rows, and that the program's own audit finds nothing wrong."""
        self.expect_same_as(self.undisturbed(way), lake, what)

    def expect_same_as(self, undisturbed, lake, what):
        audit = attempt("verify", "--lake", lake, "--config", self.config)
        assert audit.code == 0, f"after {what}\n{audit}"
        killed = Lake(lake)
        for table in TABLES:
            # `comparable` reads by PyIceberg and by DuckDB, and checks that they agree.
            assert_same(undisturbed.comparable(table), killed.comparable(table), f"{table} after {what}")
        positions = [
            [(row["shard_id"], row["sequence_number"], row["payload"]) for row in each.raw()]
            for each in (undisturbed, killed)
        ]
        assert positions[0] == positions[1], f"raw after {what}"


def says_complete(way, words):
    """Whether a command refuses because everything is done: it was killed between its last step and the end of its process."""
    refusal = {"backfill": "nothing to do", "demo": "exists and is complete"}.get(way)
    return refusal is not None and refusal in words


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """An input that is large enough to pass every point several times."""
    return Place(tmp_path_factory.mktemp("points"), events=1200, days=2, files=14, snapshot_rows=200)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The input whose runs random instants are drawn over."""
    return Place(tmp_path_factory.mktemp("killed"), events=4500, days=4, files=60, snapshot_rows=500)


@pytest.fixture(scope="module")
def tell(request):
    """Prints in spite of pytest, which shows what a test prints only if it fails."""
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def tell(words):
        with capture.global_and_fixture_disabled():
            print(f"\n{words}", flush=True)

    return tell


STARTED = []


def start_noted(*words, **popen):
    """Starts the program; `no_survivors` ends it if its test does not."""
    STARTED.append(start(*words, **popen))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def no_survivors():
    """A test that fails leaves no process behind. (A demo's consumer ends by itself when the demo does.)"""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


class Live:
    """A process in the background whose output goes to a file, so that it never waits for a reader."""

    def __init__(self, words, log):
        self.log = log
        self.started = time.monotonic()
        with open(log, "ab") as out:
            self.begin = out.tell()
            self.process = start_noted(*words, stdout=out, stderr=out, start_new_session=True)

    def runs_until(self, instant):
        """Waits until so many seconds after its start; returns whether it still runs."""
        try:
            self.process.wait(max(0, self.started + instant - time.monotonic()))
            return False
        except subprocess.TimeoutExpired:
            return True

    def end(self):
        """Waits for its end; returns the seconds it took."""
        self.process.wait(TIMEOUT_SECONDS)
        return time.monotonic() - self.started

    def kill(self):
        self.process.kill()
        self.process.wait()

    def expect_success(self):
        words = self.words()
        assert self.process.returncode == 0, f"exit {self.process.returncode}\n{words}"

    def expect_end(self, way, life):
        """Checks that it ended well; after a kill it may also have found nothing left to do."""
        if life == 0 or not says_complete(way, self.words()):
            self.expect_success()

    def words(self):
        """Its output so far."""
        words = self.log.read_bytes()[self.begin :].decode("utf-8", "backslashreplace")
        assert "panicked" not in words, f"a panic is never an answer\n{words}"
        return words


def measure(place, way, number):
    """Makes an undisturbed run; returns the lake, and how long each of its processes took."""
    lake = place.directory / f"measured-{way}-{number}".replace(" ", "-")
    log = lake.with_suffix(".log")
    if way == "replay and consume":
        replay, consume = start_both(place, lake, log)
        took = {"replay": replay.end()}
        took["consume"] = consume.end()
        replay.expect_success()
        consume.expect_success()
    else:
        live = Live(place.command(way, lake), log)
        took = {way: live.end()}
        live.expect_success()
    return Lake(lake), took


def start_both(place, lake, log):
    """Starts producer and consumer of one stream, at the same time."""
    stream = f"{lake}-stream"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", SHARDS)
    return Live(place.replay(stream), log), Live(place.consume(lake, stream), log)


class Measured:
    """The undisturbed runs over which instants are drawn; each must do enough to be a test."""

    def __init__(self, place, tell):
        self.lakes, self.seconds = {}, {}
        for way in ("backfill", "replay and consume", "demo"):
            runs = [measure(place, way, number) for number in range(MEASUREMENTS)]
            lake = self.lakes[way] = runs[0][0]
            took = {name: min(times[name] for _, times in runs) for name in runs[0][1]}
            self.seconds.update(took)
            entries = lake.entries()
            snapshots = sum(bool(entry.get("snapshot")) for entry in entries)
            # Days that closed while records came in; the seal at the end closes the last one.
            days = {entry.get("daily_through") for entry in entries if not entry.get("read_to_end")} - {None}
            times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in took.items())
            tell(f"undisturbed {way}: {len(entries)} entries, {snapshots} snapshots, {len(days)} closed days, {times}")
            assert len(entries) >= 50, f"{way}: too few entries to end between"
            assert snapshots >= 3, f"{way}: too few snapshots to start from"
            assert len(days) >= 2, f"{way}: too few closed days"


@pytest.fixture(scope="module")
def measured(large, tell):
    return Measured(large, tell)


class Kills:
    """Counts which kinds of process were killed when."""

    def __init__(self, measured, *ways):
        self.measured = measured
        self.instants = {way: [] for way in ways}
        self.kinds = Counter()
        self.lakes = 0

    def wanted(self):
        """The ways for which kills are left."""
        return [way for way, instants in self.instants.items() if len(instants) < KILLS_OF_EACH]

    def note(self, way, instant, kind=None):
        self.instants[way].append(instant)
        self.kinds[kind or way] += 1

    def __str__(self):
        lines = []
        for way, instants in self.instants.items():
            seconds = self.measured.seconds[way]
            tenths = Counter(min(9, int(instant / seconds * 10)) for instant in instants)
            spread = " ".join(str(tenths[tenth]) for tenth in range(10))
            lines.append(f"{way} killed {len(instants)} times, by tenths of its {seconds:.2f} s: {spread}")
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.kinds.items()))
        return "\n".join([*lines, f"{self.lakes} lakes compared ({kinds})"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("point", POINTS)
def test_ended_at_a_point(small, way, point):
    lake = small.directory / f"{way} {point}".replace(" ", "-")
    for life, number in enumerate(LIVES):
        ended = attempt(*small.command(way, lake), env={"AUTHPULSE_CRASH": f"{point}@{number}"}, may_abort=True)
        if ended.code == 0:
            # A later life may have too little left to do to reach the point so often.
            assert number > 1, f"the point is never reached in life {life + 1}\n{ended}"
            break
        assert f"AUTHPULSE_CRASH: ending at '{point}'" in ended.stderr, ended
        if way == "demo":
            # The demo's consumer ends at the point; the demo itself says so, and how to continue.
            assert ended.code == 1, ended
            assert re.search(r"error: the consumer ended with signal: 6.*run the demo again", ended.stderr), ended
        else:
            assert ended.code == -signal.SIGABRT, ended
    else:
        small.go_on(way, lake)
    small.expect_same(way, lake, f"ends at '{point}'")


def test_raw_files_of_a_shard_that_nobody_owns_any_more(small):
    """A shard that ended with a split is never worked on again. If a worker is lost between its last entry and giving the raw
    file its name, another worker must do that."""
    stream, lakes = small.directory / "split-stream", small.directory / "split"
    half = small.text.read_bytes().split(b"\n")[:150]
    for number, lines in enumerate([half[:75], half[75:]]):
        (small.directory / f"half{number}.txt").write_bytes(b"\n".join(lines) + b"\n")
    run("replay", "--input", small.directory / "half0.txt", "--stream", f"local:{stream}", "--shards", 1, "--max")
    run("stream", "split", "--stream", f"local:{stream}", "shardId-000000000000")
    run("replay", "--input", small.directory / "half1.txt", "--stream", f"local:{stream}", "--max", "--close")

    def consume(lake):
        # Entries of the default size, so that the last one holds records.
        return ["consume", "--stream", f"local:{stream}", "--lake", lakes / lake]

    run(*consume("undisturbed"))
    expected = [row["payload"] for row in Lake(lakes / "undisturbed").raw()]
    for nth in range(1, 100):
        crash = {"AUTHPULSE_CRASH": f"raw rename before@{nth}"}
        ended = attempt(*consume(str(nth)), env=crash, may_abort=True)
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGABRT, ended
        run(*consume(str(nth)))
        assert [row["payload"] for row in Lake(lakes / str(nth)).raw()] == expected, f"ended before raw file {nth} had its name"
    assert nth > 2, "it never came to a raw file"


@pytest.mark.parametrize("point", ["stream append before", "stream append after"])
def test_a_killed_replay_goes_on(small, point):
    """Each line is sent once, wherever the producer ended."""
    name = point.replace(" ", "-")
    stream, lake = small.directory / f"{name}-stream", small.directory / f"{name}-lake"
    for number in (1, 1, 5):
        ended = attempt(*small.replay(stream), env={"AUTHPULSE_CRASH": f"{point}@{number}"}, may_abort=True)
        assert ended.code == -signal.SIGABRT, f"the point is not reached\n{ended}"
    run(*small.replay(stream))
    run(*small.consume(lake, stream))
    small.expect_same("consume", lake, f"a replay's ends at '{point}'")


@pytest.mark.parametrize("point", ["stream append before", "stream append after"])
def test_a_demo_whose_replay_is_killed_goes_on(small, point):
    """The demo itself ends; its consumer sees that and ends in order."""
    lake = small.directory / f"demo {point}".replace(" ", "-")
    for _ in range(2 if point.endswith("before") else 1):
        # The whole input is one append: once that is stored, there is no other to end at.
        ended = attempt(*small.command("demo", lake), env={"AUTHPULSE_CRASH": f"{point}@1"}, may_abort=True)
        assert ended.code == -signal.SIGABRT, f"the point is not reached\n{ended}"
    small.go_on("demo", lake)
    small.expect_same("demo", lake, f"a demo's ends at '{point}'")


def test_backfills_killed_at_random(large, measured, tell):
    """SIGKILL at a random instant, again and again on one lake, then an undisturbed run to the end."""
    rng, kills = random.Random(f"{SEED} backfill"), Kills(measured, "backfill")
    while kills.wanted():
        kills.lakes += 1
        lake = large.directory / f"backfill-{kills.lakes}"
        for life in range(rng.randint(1, 4)):
            instant = rng.uniform(0, measured.seconds["backfill"])
            live = Live(large.command("backfill", lake), lake.with_suffix(".log"))
            if not live.runs_until(instant):
                live.expect_end("backfill", life)
                break
            live.kill()
            kills.note("backfill", instant)
        else:
            large.go_on("backfill", lake)
        what = f"kills at random instants, seed {SEED}, lake {kills.lakes}"
        large.expect_same_as(measured.lakes["backfill"], lake, what)
    tell(kills)


def test_producers_and_consumers_killed_at_random(large, measured, tell):
    """Both run at the same time on one stream: either is killed and started again while the other goes on."""
    rng, kills = random.Random(f"{SEED} stream"), Kills(measured, "replay", "consume")
    while kills.wanted():
        kills.lakes += 1
        lake = large.directory / f"stream-{kills.lakes}"
        log = lake.with_suffix(".log")
        live = dict(zip(("replay", "consume"), start_both(large, lake, log)))
        again = {"replay": large.replay(f"{lake}-stream"), "consume": large.consume(lake, f"{lake}-stream")}
        for _ in range(rng.randint(2, 8)):
            victims = [way for way in kills.wanted() if live[way].process.poll() is None]
            if not victims:
                break
            way = rng.choice(victims)
            instant = rng.uniform(0, measured.seconds[way])
            if live[way].runs_until(instant):
                live[way].kill()
                kills.note(way, instant)
                live[way] = Live(again[way], log)
        for each in live.values():
            each.end()
            each.expect_success()
        what = f"kills at random instants, seed {SEED}, stream {kills.lakes}"
        large.expect_same_as(measured.lakes["replay and consume"], lake, what)
    tell(kills)


def children(process):
    """The living children of a process."""
    rows = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, check=True).stdout.split(b"\n")
    fields = [row.split() for row in rows if row.strip()]
    return [int(pid) for pid, parent, state in fields if int(parent) == process.pid and not state.startswith(b"Z")]


def kill_demo(live, whom):
    """Kills the demo, its consumer, or both; returns whether there was anything to kill."""
    if whom == "demo alone":
        live.kill()
        return True
    if whom == "demo and consumer":
        os.killpg(live.process.pid, signal.SIGKILL)
        live.process.wait()
        return True
    for child in children(live.process):
        # It may have ended since it was listed.
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    live.end()
    if live.process.returncode == 0 or says_complete("demo", live.words()):
        return False  # Its consumer had not begun, had ended, or was not needed.
    assert live.process.returncode == 1, f"exit {live.process.returncode}\n{live.words()}"
    assert re.search(r"error: the consumer ended with signal: 9.*run the demo again", live.words()), live.words()
    return True


def test_demos_killed_at_random(large, measured, tell):
    """The demo, its consumer, or both are killed; the same command continues."""
    rng, kills = random.Random(f"{SEED} demo"), Kills(measured, "demo")
    while kills.wanted():
        kills.lakes += 1
        lake = large.directory / f"demo-{kills.lakes}"
        for life in range(rng.randint(1, 4)):
            whom = ("demo alone", "demo and consumer", "consumer alone")[kills.kinds.total() % 3]
            instant = rng.uniform(0, measured.seconds["demo"])
            live = Live(large.command("demo", lake), lake.with_suffix(".log"))
            if not live.runs_until(instant) or not kill_demo(live, whom):
                live.expect_end("demo", life)
                break
            kills.note("demo", instant, whom)
        else:
            large.go_on("demo", lake)
        what = f"kills at random instants, seed {SEED}, demo {kills.lakes}"
        large.expect_same_as(measured.lakes["demo"], lake, what)
    tell(kills)


def start_until(words, *command):
    """Starts the program and waits until it logs these words."""
    process = start_noted(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "AUTHPULSE_LOG": "info"}
    )
    hang = threading.Timer(TIMEOUT_SECONDS, process.kill)
    hang.start()
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words.encode() in line:
            hang.cancel()
            return process
    hang.cancel()
    raise AssertionError(f"it never says '{words}'\n{b''.join(lines).decode()}")


def test_a_demos_consumer_waits_for_the_one_before(small):
    """The consumer of a killed demo may take the lake after its successor was started; it is gone in a moment."""
    lake = small.directory / "waits"
    ended = attempt(*small.command("consume", lake), env={"AUTHPULSE_CRASH": "entry put after@3"}, may_abort=True)
    assert ended.code == -signal.SIGABRT, ended
    with open(lake / ".lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start_until("waiting: ", *small.command("consume", lake), "--with-parent", os.getpid())
    out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 0, f"{out}\n{err}"
    small.expect_same("consume", lake, "waiting for the lake")


def test_a_stopped_consumer_goes_on(large, measured):
    """SIGTERM again and again: each time an orderly end in time, with tables committed, and in the end all rows."""
    rng = random.Random(f"{SEED} stop")
    lake, stream = large.directory / "stopped", large.directory / "stopped-stream"
    # Open, so that the consumer never ends by itself.
    run(*[word for word in large.replay(stream) if word != "--close"])
    for number in range(6):
        process = start_until("working on shard", *large.consume(lake, stream))
        if number:
            # The first is stopped as soon as it is up.
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0, measured.seconds["consume"] / 2))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=STOP_SECONDS)
        assert process.returncode == 0, f"{out}\n{err}"
        assert b"stopped; run it again" in out and b"panicked" not in err, f"{out}\n{err}"
        status = run("status", "--lake", lake, "--json")
        assert {table["behind"] for table in json.loads(status.stdout)["tables"]} == {0}, "a stop brings the tables up"
    run(*large.replay(stream))
    run(*large.consume(lake, stream))
    large.expect_same("consume", lake, "six stops")
