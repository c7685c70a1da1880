"""`tables maintain` between and after runs, beside a service, and killed at its points: the same rows, and less to open."""

import json
import signal
import sqlite3
import subprocess
import time

import pytest

import nasty
from authpulse import attempt, refused, run, start
from read_lake import TABLES, Lake, assert_same

# The points at which maintenance can be made to end itself; each table comes to the first ones in its turn.
POINTS = [
    "compact file before:auth_events_curated",
    "compact file after:auth_events_curated",
    "maintain swap before:auth_events_curated",
    "maintain swap after:auth_events_curated",
    "maintain delete before:auth_events_curated",
    "maintain delete after:auth_events_curated",
    "maintain swap before:user_behavior_hourly",
    "maintain swap after:host_popularity_daily",
    "compact file after:auth_events_rejected",
    "base put before",
    "base put after",
    "entries remove before",
    "entries remove after",
    "orphan delete before",
    "orphan delete after",
]

PARTS = 8

SETTINGS = """
[store]
roll_rows = 150
commit_interval = 0.05
snapshot_rows = 150
[maintain]
min_files = 2
manifests_max = 1
snapshot_age = 0
orphan_age = {age}
fold_entries = 2
entry_age = {age}
[workers]
lease_duration = 2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("maintain")
    nasty.write(place / "nasty.txt", seed=3, events=1500, days=3)
    lines = (place / "nasty.txt").read_bytes().split(b"\n")
    step = len(lines) // PARTS + 1
    parts = [lines[at : at + step] for at in range(0, len(lines), step)]
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        (place / f"part{number}.txt").write_bytes(b"\n".join(part) + (b"" if last else b"\n"))
    (place / "at-once.toml").write_text(SETTINGS.format(age=0))
    (place / "patient.toml").write_text(SETTINGS.format(age=3600))
    run("replay", "--input", place / "nasty.txt", "--stream", f"local:{place / 'stream'}", "--shards", 2, "--max", "--close")
    return place


def backfill(place, lake, parts):
    """Backfills part by part, so that each day's rows come in several files."""
    for number in parts:
        words = ["backfill", "--input", place / f"part{number}.txt", "--lake", lake, "--config", place / "at-once.toml"]
        run(*words, "--raw", *(["--keep-open"] if number < PARTS - 1 else []))


def consume(place, lake):
    return run("consume", "--stream", f"local:{place / 'stream'}", "--lake", lake, "--config", place / "at-once.toml")


def maintain(place, lake, *more, call=run, **kwargs):
    config = place / "at-once.toml"
    return call("tables", "maintain", "--lake", lake, "--config", config, "--json", *more, **kwargs)


def applied(lake):
    return {t: json.loads(lake.catalog.load_table(f"authpulse.{t}").properties["authpulse.applied"]) for t in TABLES}


def live_files(report, when):
    return {table["table"]: table[when]["live"]["files"] for table in json.loads(report.stdout)["tables"]}


def is_idle(report):
    told = json.loads(report.stdout)
    tables = all(
        t["compacted"]["after"]["files"] + t["manifests_merged"] + t["expired"] + t["removed"]["files"] == 0 and not t["failed"]
        for t in told["tables"]
    )
    folded = told["folded"]["entries"] + told["folded"]["removed"] == 0 and not told["folded"]["failed"]
    return tables and folded and not told["cleaned"]["orphans"] and not told["cleaned"]["stopped"]


def journal(directory):
    """For each shard: its last entry, how many entries there are, and the last that is folded."""
    connection = sqlite3.connect(f"file:{directory / 'journal.db'}?mode=ro", uri=True)
    try:
        entries = connection.execute("SELECT shard, max(n), count(*) FROM entries GROUP BY shard").fetchall()
        bases = dict(connection.execute("SELECT shard, max(n) FROM bases GROUP BY shard").fetchall())
    finally:
        connection.close()
    return {shard: (last, count, bases.get(shard, 0)) for shard, last, count in entries}


def expect_same(undisturbed, lake, what, place):
    """Checks for the rows of a lake without maintenance, by two foreign readers and by the program's own audit."""
    for table in TABLES:
        assert_same(undisturbed.comparable(table), lake.comparable(table), f"{table} {what}")
    assert [r["payload"] for r in undisturbed.raw()] == [r["payload"] for r in lake.raw()], f"raw {what}"
    run("verify", "--lake", lake.directory, "--config", place / "at-once.toml")


@pytest.fixture(scope="module")
def undisturbed(place):
    backfill(place, place / "undisturbed-backfill", range(PARTS))
    consume(place, place / "undisturbed-consume")
    return {way: Lake(place / f"undisturbed-{way}") for way in ("backfill", "consume")}


@pytest.mark.parametrize("way", ["backfill", "consume"])
def test_after_a_run(place, undisturbed, way):
    directory = place / f"after-{way}"
    (backfill(place, directory, range(PARTS)) if way == "backfill" else consume(place, directory))
    lake = Lake(directory)
    before = applied(lake)
    dry = maintain(place, directory, "--dry-run")
    expect_same(undisturbed[way], lake, "after a dry run", place)
    report = maintain(place, directory)
    assert live_files(dry, "before") == live_files(report, "before"), "a dry run changes nothing"
    files, left = live_files(report, "before"), live_files(report, "after")
    assert all(left[table] <= files[table] for table in TABLES)
    assert left["auth_events_curated"] * 2 <= files["auth_events_curated"], f"{files} files became {left}"
    entries = journal(directory)
    for last, count, base in entries.values():
        assert base == last - 1, "all but the last entry are folded"
        # The entries that the two newest snapshots of state need are still there.
        assert last < 20 or count < last, f"{count} of {last} entries are left"
    expect_same(undisturbed[way], lake, "after maintenance", place)
    assert applied(lake) == before
    folded = json.loads(report.stdout)["folded"]
    assert folded["entries"] == sum(base for _, _, base in entries.values()) > 0
    assert folded["removed"] == sum(last - count for last, count, _ in entries.values())
    assert json.loads(dry.stdout)["folded"]["entries"] == folded["entries"]
    again = maintain(place, directory)
    assert is_idle(again), again
    assert "nothing to do" in run("tables", "maintain", "--lake", directory, "--config", place / "at-once.toml").stdout
    assert run("tables", "check", "--lake", directory).stdout.count("as it should be") == len(TABLES)
    told = json.loads(run("tables", "describe", "--lake", directory, "--json").stdout)
    rows = {table["table"]: table["shape"]["rows"] for table in told}
    assert rows == {table: len(lake.rows(table)) for table in TABLES}


def test_between_runs(place, undisturbed):
    """State is rebuilt although the files that entries name are gone: from the tables as they are."""
    directory = place / "between"
    for number in range(PARTS):
        backfill(place, directory, [number])
        maintain(place, directory)
    lake = Lake(directory)
    assert_rows = [(table, undisturbed["backfill"].comparable(table), lake.comparable(table)) for table in TABLES]
    for table, ours, theirs in assert_rows:
        assert_same(ours, theirs, f"{table} with maintenance after each part")
    run("verify", "--lake", directory, "--config", place / "at-once.toml")


@pytest.mark.parametrize("point", POINTS)
def test_ended_at_a_point(place, undisturbed, point):
    directory = place / f"ended {point}".replace(" ", "-").replace(":", "-")
    backfill(place, directory, range(PARTS))
    if point.startswith("orphan"):
        for number in range(3):
            (directory / "staging" / "raw").mkdir(parents=True, exist_ok=True)
            (directory / "staging" / "raw" / f"lost-{number}.parquet").write_bytes(b"lost")
    lake = Lake(directory)
    before = applied(lake)
    ended = maintain(place, directory, call=attempt, env={"AUTHPULSE_CRASH": point}, may_abort=True)
    assert ended.code == -signal.SIGABRT, f"the point is never reached\n{ended}"
    expect_same(undisturbed["backfill"], lake, f"after an end at '{point}'", place)
    assert applied(lake) == before
    maintain(place, directory)
    expect_same(undisturbed["backfill"], lake, f"after an end at '{point}' and another run", place)
    maintain(place, directory)
    assert is_idle(maintain(place, directory)), "what a crash left is cleaned up by the next run"
    assert applied(lake) == before


def test_beside_a_service(place, undisturbed):
    """Maintenance every second while a service stores and commits; killed now and then."""
    directory, config = place / "beside", place / "patient.toml"
    words = ["consume", "--stream", f"local:{place / 'stream'}", "--lake", directory, "--config", config]
    service = start(*words, stdout=subprocess.DEVNULL)
    rounds = 0
    while service.poll() is None:
        if (directory / "lake.json").exists() and (directory / "catalog.db").exists():
            rounds += 1
            env = {"AUTHPULSE_CRASH": f"maintain swap before:{TABLES[rounds % 4]}"} if rounds % 3 == 0 else {}
            attempt("tables", "maintain", "--lake", directory, "--config", config, env=env, may_abort=True)
        time.sleep(0.01)
    assert service.returncode == 0
    run("tables", "maintain", "--lake", directory, "--config", config)
    lake = Lake(directory)
    expect_same(undisturbed["consume"], lake, f"after {rounds} rounds beside a service", place)


def test_every_goes_on_until_it_is_told_to_stop(place):
    directory = place / "every"
    backfill(place, directory, [0])
    words = ["tables", "maintain", "--lake", directory, "--config", place / "at-once.toml", "--json", "--every", "1s"]
    process = start(*words, stdout=subprocess.PIPE)
    reports = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert not reports[0]["dry_run"] and reports[1]["cleaned"]["stopped"] is None
    refused("tables", "maintain", "--lake", directory, names=["being maintained by another process"])
    process.terminate()
    assert process.wait(20) == 0
    refused("tables", "maintain", "--lake", directory, "--every", "1w", names=["is not a number and s, m, h or d"])


def test_a_table_that_cannot_be_read_whole_stops_the_cleaner(place):
    directory = place / "unreadable"
    backfill(place, directory, [0, 1])
    lost = directory / "staging" / "raw" / "lost.parquet"
    lost.parent.mkdir(parents=True, exist_ok=True)
    lost.write_bytes(b"lost")
    (snapshot, *_) = sorted((directory / "warehouse" / "auth_events_curated" / "metadata").glob("snap-*.avro"))
    snapshot.rename(directory / "away")
    told = maintain(place, directory, call=attempt)
    assert told.code == 1 and json.loads(told.stdout)["cleaned"]["stopped"], told
    assert lost.exists()
    (directory / "away").rename(snapshot)
    maintain(place, directory)
    assert not lost.exists()


def test_tables_are_made_before_the_first_event(place):
    directory = place / "made"
    told = run("tables", "create", "--lake", directory).stdout
    assert told.count(": made") == len(TABLES) and told.count("as it should be") == len(TABLES)
    again = run("tables", "create", "--lake", directory).stdout
    assert ": made" not in again and again.count("as it should be") == len(TABLES)
    assert {table: len(Lake(directory).rows(table)) for table in TABLES} == dict.fromkeys(TABLES, 0)
    backfill(place, directory, [0])
    refused("tables", "create", "--lake", place, names=["is not a lake", "not empty"])
