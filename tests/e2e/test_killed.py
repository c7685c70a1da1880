"""Ended at the worst instants and started again: the rows of an undisturbed run, and nothing else.

`AUTHPULSE_KILLS` sets how often each way is killed at a random instant, `AUTHPULSE_SEED` at which ones.
"""

import os
import random
import signal
import subprocess
import time

import pytest

import nasty
from authpulse import attempt, run, start
from read_lake import TABLES, Lake, assert_same

KILLS = int(os.environ.get("AUTHPULSE_KILLS", "6"))
SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))

# Where the program can be made to end itself.
POINTS = [
    "entry put before",
    "entry put after",
    "raw rename before",
    "raw rename after",
    *(f"table swap {when}:{table}" for when in ("before", "after") for table in TABLES),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("killed")
    nasty.write(place / "nasty.txt", seed=2, events=1600, days=2)
    # Small entries and frequent commits: more instants between which to end.
    (place / "small.toml").write_text("[store]\nroll_rows = 300\ncommit_interval = 0.05\nsnapshot_rows = 700\n")
    stream = f"local:{place / 'stream'}"
    run("replay", "--input", place / "nasty.txt", "--stream", stream, "--shards", 3, "--max", "--close")
    return place


def command(place, way, lake):
    """A way into a lake, with raw."""
    source = {
        "backfill": ["--input", place / "nasty.txt", "--raw"],
        "consume": ["--stream", f"local:{place / 'stream'}"],
    }
    return [way, *source[way], "--lake", lake, "--config", place / "small.toml"]


@pytest.fixture(scope="module")
def undisturbed(place):
    lakes = {}
    for way in ("backfill", "consume"):
        run(*command(place, way, place / way))
        lakes[way] = Lake(place / way)
    return lakes


def expect_same(undisturbed, way, directory, what):
    run("verify", "--lake", directory, "--config", directory.parent / "small.toml")
    killed = Lake(directory)
    for table in TABLES:
        assert_same(undisturbed[way].comparable(table), killed.comparable(table), f"{table} after {what}")
    positions = [
        [(row["shard_id"], row["sequence_number"], row["payload"]) for row in lake.raw()]
        for lake in (undisturbed[way], killed)
    ]
    assert positions[0] == positions[1], f"raw after {what}"


def go_on(place, way, directory):
    """An undisturbed run to the end. A backfill that had come to its end says so and does nothing."""
    again = attempt(*command(place, way, directory))
    assert again.code == 0 or (way == "backfill" and "nothing to do" in again.stderr), again


@pytest.mark.parametrize("way", ["backfill", "consume"])
@pytest.mark.parametrize("point", POINTS)
def test_ended_at_a_point(place, undisturbed, way, point):
    # A service commits as it goes, at instants that differ from run to run; its first time is as good as any.
    for number in (1, 3) if way == "backfill" or KILLS > 50 else (1,):
        directory = place / f"{way} {point} {number}".replace(" ", "-")
        crash = {"AUTHPULSE_CRASH": f"{point}@{number}"}
        ended = attempt(*command(place, way, directory), env=crash, may_abort=True)
        if number == 1:
            assert ended.code == -signal.SIGABRT, f"the point is never reached\n{ended}"
        go_on(place, way, directory)
        expect_same(undisturbed, way, directory, f"an end at '{point}', time {number}")


@pytest.mark.parametrize("way", ["backfill", "consume"])
def test_killed_at_random(place, undisturbed, way):
    """SIGKILL after a random time, again and again on one lake, then an undisturbed run to the end."""
    rng = random.Random(f"{SEED} {way}")
    rounds, kills = 0, 0
    while kills < KILLS:
        rounds += 1
        directory = place / f"{way}-random-{rounds}"
        for _ in range(rng.randint(1, 4)):
            process = start(*command(place, way, directory), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(rng.uniform(0.01, 0.6))
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
        go_on(place, way, directory)
        expect_same(undisturbed, way, directory, f"kills at random times, seed {SEED}, round {rounds}")


@pytest.mark.parametrize("point", ["stream append before", "stream append after"])
def test_a_killed_replay_goes_on(place, undisturbed, point):
    """Each line is sent once, wherever the producer ended."""
    text = place / "nasty.txt"
    for number in (1, 5):
        stream = f"local:{place / f'{point} {number}'.replace(' ', '-')}"
        words = ["replay", "--input", text, "--stream", stream, "--shards", 3, "--max", "--batch-size", 400, "--close"]
        ended = attempt(*words, env={"AUTHPULSE_CRASH": f"{point}@{number}"}, may_abort=True)
        assert ended.code == -signal.SIGABRT, f"the point is never reached\n{ended}"
        run(*words)
        directory = place / f"{point} {number} lake".replace(" ", "-")
        run("consume", "--stream", stream, "--lake", directory, "--config", place / "small.toml")
        killed = Lake(directory)
        for table in TABLES:
            assert_same(undisturbed["consume"].comparable(table), killed.comparable(table), f"{table}: killed replay")


def test_a_stopped_consumer_goes_on(place, undisturbed):
    """SIGTERM again and again: each time an orderly end, and in the end all rows."""
    directory = place / "stopped"
    for delay in (0.02, 0.1, 0.2, 0.4):
        process = start(*command(place, "consume", directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        # Before it listens to signals it ends by them, as any process does.
        assert process.returncode in (0, -signal.SIGTERM), f"{out}\n{err}"
    run(*command(place, "consume", directory))
    expect_same(undisturbed, "consume", directory, "four stops")
