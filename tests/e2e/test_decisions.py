"""A decision goes out when it is made: complete, once in an undisturbed run, and before anything is committed."""

import contextlib
import json
import signal
import sqlite3

import pyarrow
import pytest

import nasty
from authpulse import attempt, run
from read_lake import CURATED, Lake

MIN_SCORE = 30
FIELDS = ["user_id", "computer_id", "risk_score", "risk_level", "login_count_1h", "unique_computers_1h", "host_popularity"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("decisions")
    nasty.write(place / "nasty.txt", seed=3, events=1500, days=2)
    stream = f"local:{place / 'stream'}"
    run("replay", "--input", place / "nasty.txt", "--stream", stream, "--shards", 2, "--max", "--close")
    return place


def config(place, name, min_score):
    """A configuration that writes decisions to a file, and that file."""
    decisions, path = place / f"{name}.jsonl", place / f"{name}.toml"
    path.write_text(f'[decisions]\nto = "file:{decisions}"\nmin_score = {min_score}\n[store]\nroll_rows = 300\n')
    return path, decisions


def read(decisions):
    return [json.loads(line) for line in decisions.read_text().splitlines()]


def facts(row):
    """What a decision and its row have in common."""
    return (row["event_id"], *(row[field] for field in FIELDS), tuple(row["risk_flags"]))


@pytest.mark.parametrize("way", ["consume", "backfill"])
def test_decisions_are_the_rows_from_a_score_on(place, way):
    path, decisions = config(place, way, MIN_SCORE)
    source = ["--stream", f"local:{place / 'stream'}"] if way == "consume" else ["--input", place / "nasty.txt"]
    run(way, *source, "--lake", place / way, "--config", path)
    rows = [row for row in Lake(place / way).rows(CURATED) if row["risk_score"] >= MIN_SCORE]
    assert len(rows) > 50
    assert sorted(map(facts, read(decisions)), key=repr) == sorted(map(facts, rows), key=repr)


def stored_rows(lake):
    """How many rows the journal's entries hold."""
    with contextlib.closing(sqlite3.connect(f"file:{lake / 'journal.db'}?mode=ro", uri=True)) as journal:
        bodies = [body for (body,) in journal.execute("SELECT body FROM entries")]
    entries = [json.loads(pyarrow.CompressedInputStream(pyarrow.BufferReader(body), "zstd").read()) for body in bodies]
    return sum(entry["counts"]["curated"] for entry in entries)


def test_a_decision_does_not_wait_for_its_entry(place):
    """The process ends before an entry is stored, but its decisions are out. They come again, under the same ids."""
    path, decisions = config(place, "early", 0)
    # One shard, which does not wait for the daily counts of others.
    words = ["backfill", "--input", place / "nasty.txt", "--lake", place / "early", "--config", path]
    ended = attempt(*words, env={"AUTHPULSE_CRASH": "entry put before@2"}, may_abort=True)
    assert ended.code == -signal.SIGABRT, ended
    early = read(decisions)
    assert len(early) > stored_rows(place / "early")
    run(*words)
    rows = Lake(place / "early").rows(CURATED)
    again = read(decisions)
    assert again[: len(early)] == early
    assert {facts(decision) for decision in again} == {facts(row) for row in rows}
    assert len(again) >= len(rows)
