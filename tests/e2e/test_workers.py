"""Several workers, as real processes, share one stream and one lake: the result is the rows of one worker, and nothing else.

`AUTHPULSE_SEED` sets what is killed, paused, split and merged, and when.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time

import pytest

import nasty
from authpulse import TIMEOUT_SECONDS, refused, run, start
from fleet import Fleet, merge_two, owners, split_one, until
from read_lake import TABLES, Lake, assert_same, changed_entry

SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
WORKERS = 4
SHARDS = 8

# Leases that expire within a second, so that a paused worker loses its shards during the test.
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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    directory = tmp_path_factory.mktemp("workers")
    nasty.write(directory / "nasty.txt", seed=5, users=40, events=12_000, days=3)
    (directory / "workers.toml").write_text(CONFIG)
    return directory


def expect_rows_of_one_worker(place, stream, lake):
    """Checks that the lake holds what one worker alone makes of the same stream."""
    alone = place / f"{lake.name}-alone"
    run("consume", "--stream", f"local:{stream}", "--lake", alone, "--config", place / "workers.toml")
    run("verify", "--lake", lake, "--config", place / "workers.toml")
    one, many = Lake(alone), Lake(lake)
    for table in TABLES:
        assert_same(one.comparable(table), many.comparable(table), f"{table} of several workers")
    raw = [[(r["shard_id"], r["sequence_number"], r["payload"]) for r in each.raw()] for each in (one, many)]
    assert raw[0] == raw[1]


def test_workers_share_and_a_released_shard_moves_at_once(place):
    """New workers get their part, a stopped worker gives its shards back, and the others go on."""
    stream, lake = place / "shared-stream", place / "shared"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", SHARDS)
    fleet = Fleet(place, stream, ["--lake", lake], place / "workers.toml")
    first = fleet.add()
    fleet.wait_for(first, "working on shard")
    until(lambda: list(owners(stream).values()) == [SHARDS], "one worker with all shards")
    others = [fleet.add() for _ in range(WORKERS - 1)]
    until(lambda: sorted(owners(stream).values()) == [SHARDS // WORKERS] * WORKERS, "an even part for each worker")
    replay = ["replay", "--input", place / "nasty.txt", "--stream", f"local:{stream}", "--max", "--batch-size", 300]
    run(*replay)
    fleet.stop(others[0])
    until(lambda: sum(owners(stream).values()) == SHARDS and len(owners(stream)) == WORKERS - 1, "all shards with three")
    run("stream", "close", "--stream", f"local:{stream}")
    fleet.finish()
    expect_rows_of_one_worker(place, stream, lake)


def test_a_hung_committer_is_relieved(place):
    """A worker that is paused while it has the committer's lock does not hold up any table, and finds out when it goes on."""
    stream, lake = place / "hung-stream", place / "hung"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", 2)
    fleet = Fleet(place, stream, ["--lake", lake], place / "workers.toml")
    replay = ["replay", "--input", place / "nasty.txt", "--stream", f"local:{stream}", "--max"]

    def committed():
        tables = json.loads(run("status", "--lake", lake, "--json").stdout)["tables"]
        return [table["committed_at"] for table in tables] if all(table["behind"] == 0 for table in tables) else None

    try:
        hung = fleet.add()
        fleet.wait_for(hung, "working on shard")
        run(*replay, "--max-events", 4_000)
        other = fleet.add()
        until(lambda: sorted(owners(stream).values()) == [1, 1], "a shard with each")
        before = until(lambda: all(committed() or [None]) and committed(), "a commit of every table")
        hung.send_signal(signal.SIGSTOP)
        run(*replay)
        until(lambda: (now := committed()) and all(new > old for new, old in zip(now, before)), "later commits", 30, other)
        assert "took the committer's lock over: its holder was silent" in fleet.log(other)
        assert f"process {hung.pid}" in fleet.log(other), "from whom"
        hung.send_signal(signal.SIGCONT)
        fleet.wait_for(hung, "another worker has taken the committer's lock over")
    finally:
        hung.send_signal(signal.SIGCONT)
    run("stream", "close", "--stream", f"local:{stream}")
    fleet.finish()
    expect_rows_of_one_worker(place, stream, lake)


def take_over_as_a_newer_version(lake, shard):
    """Stores what a version with another format of entries stores when it takes a shard over."""
    while True:
        with contextlib.closing(sqlite3.connect(lake / "journal.db", timeout=30)) as journal, journal:
            n, body = journal.execute("SELECT n, body FROM entries WHERE shard = ? ORDER BY n DESC LIMIT 1", [shard]).fetchone()
            body = changed_entry(body, format=1_000, n=n + 1, epoch=2, takes_over=True)
            try:
                journal.execute("INSERT INTO entries (shard, n, body) VALUES (?, ?, ?)", [shard, n + 1, body])
                return
            except sqlite3.IntegrityError:
                # The worker was first; once more.
                continue


def test_a_newer_version_takes_a_shard(place):
    """In a rolling deploy, a worker that cannot read the new format stores what it has, gives everything back and says what to do."""
    stream, lake = place / "newer-stream", place / "newer"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", 2)
    fleet = Fleet(place, stream, ["--lake", lake], place / "workers.toml")
    old = fleet.add()
    fleet.wait_for(old, "working on shard")
    until(lambda: list(owners(stream).values()) == [2], "a worker with both shards", process=old)
    replay = ["replay", "--input", place / "nasty.txt", "--stream", f"local:{stream}", "--max"]
    run(*replay, "--max-events", 3_000)
    journals = lambda: json.loads(run("status", "--lake", lake, "--json").stdout)["shards"]  # noqa: E731
    until(lambda: len(journals()) == 2 and all(shard["last_entry"] > 1 for shard in journals()), "entries of both shards", process=old)
    take_over_as_a_newer_version(lake, journals()[0]["shard"])
    # The worker has something to store again.
    run(*replay)
    fleet.wait_for(old, "run a newer version")
    until(lambda: owners(stream) == {}, "free leases", process=old)
    # It stays up, and so does another worker of its version, which takes no shard.
    another = fleet.add()
    fleet.wait_for(another, "run a newer version")
    assert owners(stream) == {} and old.poll() is None, fleet.log(old)
    for worker in (old, another):
        fleet.stop(worker)
    refused("consume", *fleet.source(), *fleet.words, "--config", fleet.config, "--until-caught-up", names=["run a newer version"])
    assert owners(stream) == {}, "none was taken"


def test_chaos(place):
    """Kills, pauses beyond the end of leases, splits and merges while events come in."""
    rng = random.Random(SEED)
    stream, lake = place / "chaos-stream", place / "chaos"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", SHARDS)
    fleet = Fleet(place, stream, ["--lake", lake], place / "workers.toml")
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
            # Longer than a lease lasts: others have its shards by now, and what it still wants to write must be refused.
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
    run("stream", "close", "--stream", f"local:{stream}")
    fleet.finish()
    print(f"seed {SEED}: {kills} kills, {pauses} pauses, {splits} splits, {merges} merges")
    assert "another worker has the shard" in fleet.logs_of_all() or "lease was taken" in fleet.logs_of_all()
    expect_rows_of_one_worker(place, stream, lake)


def test_status_tells_the_owners(place):
    """`status` shows which worker works on which shard."""
    stream, lake = place / "status-stream", place / "status"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", 2)
    fleet = Fleet(place, stream, ["--lake", lake], place / "workers.toml")
    worker = fleet.add()
    until(lambda: (stream / "leases.db").exists() and sum(owners(stream).values()) == 2, "two leases")
    shown = json.loads(run("status", "--lake", lake, "--stream", f"local:{stream}", "--json").stdout)
    assert len(shown["leases"]) == 2
    assert {lease["owner"] for lease in shown["leases"]} == set(owners(stream))
    fleet.stop(worker)
    shown = json.loads(run("status", "--lake", lake, "--stream", f"local:{stream}", "--json").stdout)
    assert {lease["owner"] for lease in shown["leases"]} == {None}
