"""Several workers, real processes, share the shards of one stream and one lake: the rows of one worker, and nothing else.

`AUTHPULSE_SEED` sets what is killed, paused, split and merged, and when.
"""

import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

import nasty
from authpulse import STOP_SECONDS, TIMEOUT_SECONDS, attempt, run, start
from read_lake import TABLES, Lake, assert_same

SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
WORKERS = 4
SHARDS = 8

# Leases that expire within a second: a paused worker loses its shards while the test still looks.
CONFIG = """\
[store]
roll_rows = 150
roll_age = 0.1
commit_interval = 0.1
snapshot_rows = 500
[run]
read_records = 100
poll_interval = 0.02
[workers]
follow_interval = 0.1
lease_duration = 1
lease_scan = 0.2
"""


class Fleet:
    """Workers of one lake; each writes its log into a file of its own."""

    def __init__(self, directory, stream, lake, config):
        self.directory, self.stream, self.lake, self.config = directory, stream, lake, config
        self.workers, self.logs, self.ended = [], {}, []

    def add(self):
        words = ["consume", "--stream", f"local:{self.stream}", "--lake", self.lake, "--config", self.config]
        log = self.directory / f"worker-{len(self.logs)}.log"
        worker = start(
            *words,
            stdout=subprocess.DEVNULL,
            stderr=log.open("w"),
            env={**os.environ, "AUTHPULSE_LOG": "info", "NO_COLOR": "1"},
        )
        self.logs[worker.pid] = log
        self.workers.append(worker)
        return worker

    def log(self, worker):
        return self.logs[worker.pid].read_text()

    def logs_of_all(self):
        return "\n".join(log.read_text() for log in self.logs.values())

    def wait_for(self, worker, words):
        """Until the worker's log holds the words."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while words not in self.log(worker):
            assert worker.poll() is None or words in self.log(worker), f"it ended\n{self.log(worker)}"
            assert time.monotonic() < deadline, f"'{words}' never came\n{self.log(worker)}"
            time.sleep(0.02)

    def kill(self, worker):
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def stop(self, worker):
        """In order: within the seconds that the product promises."""
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, self.log(worker)
        self.workers.remove(worker)

    def finish(self):
        """Every worker comes to the end of the closed stream by itself."""
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
        for worker in self.workers:
            assert worker.wait(TIMEOUT_SECONDS) == 0, self.log(worker)
        assert "panicked" not in self.logs_of_all()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("workers")
    nasty.write(directory / "nasty.txt", seed=5, users=40, events=12_000, days=3)
    (directory / "workers.toml").write_text(CONFIG)
    return directory


def owners(stream):
    """How many shards each worker has, by the leases beside the stream."""
    import sqlite3

    connection = sqlite3.connect(f"file:{stream / 'leases.db'}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT owner, count(*) FROM leases WHERE owner IS NOT NULL GROUP BY owner")
        return dict(rows.fetchall())
    finally:
        connection.close()


def until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)


def expect_rows_of_one_worker(place, stream, lake):
    """The lake holds what one worker alone makes of the same stream."""
    alone = place / f"{lake.name}-alone"
    run("consume", "--stream", f"local:{stream}", "--lake", alone, "--config", place / "workers.toml")
    run("verify", "--lake", lake, "--config", place / "workers.toml")
    one, many = Lake(alone), Lake(lake)
    for table in TABLES:
        assert_same(one.comparable(table), many.comparable(table), f"{table} of several workers")
    raw = [[(r["shard_id"], r["sequence_number"], r["payload"]) for r in each.raw()] for each in (one, many)]
    assert raw[0] == raw[1]


def test_workers_share_and_a_released_shard_moves_at_once(place):
    """Newcomers get their part, a worker that is stopped gives its shards back, the rest goes on."""
    stream, lake = place / "shared-stream", place / "shared"
    run("stream", "create", f"local:{stream}", "--shards", SHARDS)
    fleet = Fleet(place, stream, lake, place / "workers.toml")
    first = fleet.add()
    fleet.wait_for(first, "working on shard")
    until(lambda: list(owners(stream).values()) == [SHARDS], "one worker with all shards")
    others = [fleet.add() for _ in range(WORKERS - 1)]
    until(lambda: sorted(owners(stream).values()) == [SHARDS // WORKERS] * WORKERS, "an even part for each worker")
    replay = ["replay", "--input", place / "nasty.txt", "--stream", f"local:{stream}", "--max", "--batch-size", 300]
    run(*replay)
    fleet.stop(others[0])
    until(lambda: sum(owners(stream).values()) == SHARDS and len(owners(stream)) == WORKERS - 1, "all shards with three")
    run("stream", "close", f"local:{stream}")
    fleet.finish()
    expect_rows_of_one_worker(place, stream, lake)


def test_chaos(place):
    """Kills, pauses beyond the end of leases, splits and merges while events come in."""
    rng = random.Random(SEED)
    stream, lake = place / "chaos-stream", place / "chaos"
    run("stream", "create", f"local:{stream}", "--shards", SHARDS)
    fleet = Fleet(place, stream, lake, place / "workers.toml")
    for _ in range(WORKERS):
        fleet.add()
    words = ["--stream", f"local:{stream}", "--rate", 1_000, "--batch-size", 20]
    replay = start("replay", "--input", place / "nasty.txt", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    kills, pauses, splits, merges = 0, 0, 0, 0
    paused = []
    while replay.poll() is None or kills < 20 or pauses < 5 or splits < 3 or merges < 2:
        time.sleep(rng.uniform(0.05, 0.3))
        event = rng.random()
        running = [w for w in fleet.workers if all(w is not p for p, _ in paused)]
        if paused and event < 0.2:
            # Longer than a lease lasts: others have its shards by now, and what it still holds must bounce off.
            worker, since = paused[0]
            if time.monotonic() - since > 2.5:
                worker.send_signal(signal.SIGCONT)
                paused.pop(0)
        elif event < 0.55 and running:
            fleet.kill(rng.choice(running))
            kills += 1
            fleet.add()
        elif event < 0.7 and len(paused) < 2 and running:
            worker = rng.choice(running)
            worker.send_signal(signal.SIGSTOP)
            paused.append((worker, time.monotonic()))
            pauses += 1
        elif event < 0.85:
            reshard = split_one(rng, stream) if splits <= merges else merge_two(rng, stream)
            splits, merges = splits + (reshard == "split"), merges + (reshard == "merge")
    assert replay.wait(TIMEOUT_SECONDS) == 0
    run("stream", "close", f"local:{stream}")
    fleet.finish()
    print(f"seed {SEED}: {kills} kills, {pauses} pauses, {splits} splits, {merges} merges")
    assert "another worker has the shard" in fleet.logs_of_all() or "lease was taken" in fleet.logs_of_all()
    expect_rows_of_one_worker(place, stream, lake)


def open_shards(stream):
    """The open shards, in order of their ranges."""
    shown = run("stream", "describe", f"local:{stream}").stdout
    shards = re.findall(r"^(shardId-\d+) (\S+) open", shown, re.MULTILINE)
    return [name for name, _ in sorted(shards, key=lambda shard: shard[1])]


def split_one(rng, stream):
    run("stream", "split", f"local:{stream}", rng.choice(open_shards(stream)))
    return "split"


def merge_two(rng, stream):
    shards = open_shards(stream)
    at = rng.randrange(len(shards) - 1)
    merged = attempt("stream", "merge", f"local:{stream}", shards[at], shards[at + 1])
    assert merged.code == 0, merged
    return "merge"


def test_status_tells_the_owners(place):
    """Who works on what, for whoever looks."""
    stream, lake = place / "status-stream", place / "status"
    run("stream", "create", f"local:{stream}", "--shards", 2)
    fleet = Fleet(place, stream, lake, place / "workers.toml")
    worker = fleet.add()
    until(lambda: (stream / "leases.db").exists() and sum(owners(stream).values()) == 2, "two leases")
    shown = json.loads(run("status", "--lake", lake, "--stream", f"local:{stream}", "--json").stdout)
    assert len(shown["leases"]) == 2
    assert {lease["owner"] for lease in shown["leases"]} == set(owners(stream))
    fleet.stop(worker)
    shown = json.loads(run("status", "--lake", lake, "--stream", f"local:{stream}", "--json").stdout)
    assert {lease["owner"] for lease in shown["leases"]} == {None}
