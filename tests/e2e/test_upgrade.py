"""Four workers of the version before format 3 are upgraded one by one, under load and with leases held, and back again.

`AUTHPULSE_BEFORE` names the program of that version; `./test --long` builds it out of this repository (commit 548579c).
"""

import os
import subprocess
from pathlib import Path

import pytest

import nasty
from authpulse import PROGRAM, TIMEOUT_SECONDS, run, start
from fleet import Fleet, owners, until
from read_lake import Lake
from test_workers import CONFIG, expect_rows_of_one_worker

BEFORE = os.environ.get("AUTHPULSE_BEFORE")
WORKERS = 4
SHARDS = 8
EVENTS = 12_000
# Events a second: they last some forty seconds, in which all workers are replaced twice.
RATE = 300

pytestmark = pytest.mark.skipif(not BEFORE, reason="no program of the version before: see AUTHPULSE_BEFORE in this file")


@pytest.fixture
def place(tmp_path):
    nasty.write(tmp_path / "nasty.txt", seed=11, users=40, events=EVENTS, days=3)
    (tmp_path / "workers.toml").write_text(CONFIG)
    return tmp_path


def received(lake):
    return sum(entry["counts"]["received"] for entry in lake.entries())


def even(stream):
    """Whether each worker has its part of the shards."""
    return sorted(owners(stream).values()) == [SHARDS // WORKERS] * WORKERS


def exchange(fleet, program, lake):
    """One worker after another is stopped in order and another program started in its place; the others go on meanwhile."""
    for worker in list(fleet.workers):
        assert even(fleet.stream), "it holds leases"
        before = received(lake)
        fleet.stop(worker)
        fleet.add(program)
        until(lambda: even(fleet.stream), "an even part for each worker")
        until(lambda: received(lake) > before, "another entry with records")
        assert all(worker.poll() is None for worker in fleet.workers), fleet.logs_of_all()


def test_workers_are_upgraded_one_by_one_under_load_and_back(place):
    before = Path(BEFORE)
    stream, directory = place / "stream", place / "lake"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", SHARDS)
    fleet = Fleet(place, stream, ["--lake", directory], place / "workers.toml")
    try:
        fleet.wait_for(fleet.add(before), "working on shard")
        for _ in range(WORKERS - 1):
            fleet.add(before)
        until(lambda: even(stream), "an even part for each worker")
        words = ["replay", "--input", place / "nasty.txt", "--stream", f"local:{stream}", "--rate", RATE]
        replay = start(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            lake = Lake(directory)
            until(lambda: received(lake) > 0, "the first entry", process=replay)
            exchange(fleet, PROGRAM, lake)
            exchange(fleet, before, lake)
            assert replay.poll() is None, "all of it was under load"
            exchange(fleet, PROGRAM, lake)
            assert replay.wait(TIMEOUT_SECONDS) == 0
        finally:
            replay.kill()
            replay.wait()
        # Half of the workers of each version at the end.
        for worker in list(fleet.workers)[: WORKERS // 2]:
            fleet.stop(worker)
            fleet.add(before)
        run("stream", "close", "--stream", f"local:{stream}")
        fleet.finish()
    finally:
        fleet.kill_all()
    assert {entry["format"] for entry in lake.entries()} == {2}, "nothing new was stored"
    assert "older programs can go on with this lake" in run("status", "--lake", directory).stdout
    expect_rows_of_one_worker(place, stream, directory)
    done = subprocess.run([before, "verify", "--lake", directory, "--config", place / "workers.toml"], capture_output=True)
    assert done.returncode == 0, done
