"""`authpulse followers list|forget`: which followers a lake has besides the tables, what is kept for them, and how that ends.

The program has no such follower. The test writes what one would register, where it would: rows of `journal.db`.
"""

import json
import sqlite3
import time

import pytest

from authpulse import attempt, refused, run
from read_lake import Lake

MICROS = 1_000_000
# Each part makes at least an entry and a snapshot of the state.
PARTS, EVENTS = 6, 200
SETTINGS = "[store]\nroll_rows = 100\nsnapshot_rows = 100\n[maintain]\nfold_entries = 1\nentry_age = 0\n"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "small.toml").write_text(SETTINGS)
    for part in range(PARTS):
        file = tmp_path / f"part-{part}.txt"
        file.write_text("".join(f"{n},U{n % 7},C{n % 11}\n" for n in range(part * EVENTS + 1, (part + 1) * EVENTS)))
        words = ["--input", file, "--lake", tmp_path / "lake", "--config", tmp_path / "small.toml"]
        run("backfill", *words, *(["--keep-open"] if part + 1 < PARTS else []))
    return tmp_path


def register(place, name, n, body):
    with sqlite3.connect(place / "lake" / "journal.db") as journal:
        journal.execute(
            "CREATE TABLE IF NOT EXISTS followers (name TEXT NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, "
            "PRIMARY KEY (name, n)) WITHOUT ROWID"
        )
        journal.execute("INSERT INTO followers VALUES (?, ?, ?)", (name, n, body))


def registration(name, applied, ago=0):
    at = int((time.time() - ago) * MICROS)
    return json.dumps({"format": 1, "name": name, "at": at, "applied": applied}).encode()


def followers(place, *words, **kwargs):
    return run("followers", *words, "--lake", place / "lake", **kwargs)


def listed(place):
    return {follower["name"]: follower for follower in json.loads(followers(place, "list", "--json").stdout)}


def tail(place):
    return max(entry["n"] for entry in Lake(place / "lake").entries())


def maintain(place):
    return run("tables", "maintain", "--lake", place / "lake", "--config", place / "small.toml")


def test_a_lake_without_followers_says_so_and_there_is_none_to_forget(place):
    assert followers(place, "list").stdout == "nobody but the tables follows this lake\n"
    assert listed(place) == {}
    refused("followers", "forget", "counts", "--lake", place / "lake", names=["no follower counts", "followers list"])
    # Listing creates nothing.
    with sqlite3.connect(place / "lake" / "journal.db") as journal:
        assert not journal.execute("SELECT 1 FROM sqlite_master WHERE name = 'followers'").fetchall()


def test_who_follows_is_listed_kept_for_and_forgotten(place):
    last = tail(place)
    assert last > 4
    register(place, "counts", 1, registration("counts", {"file": 1}, ago=300))
    register(place, "counts", 2, registration("counts", {"file": 2}, ago=200))
    register(place, "alerts", 7, registration("alerts", {"file": last}))
    found = listed(place)
    assert list(found) == ["alerts", "counts"]
    assert (found["alerts"]["lacks"], found["alerts"]["oldest"], found["alerts"]["kept"]) == (0, None, "yes")
    counts = found["counts"]
    # The registration with the highest number counts.
    assert (counts["lacks"], counts["oldest"]["shard"], counts["oldest"]["n"]) == (last - 2, "file", 3)
    assert counts["kept"] == "yes"
    text = followers(place, "list").stdout
    assert "alerts\n" in text and f"lacks       {last - 2} entries, since " in text and "entry 3 of shard file" in text
    assert "kept        until " in text and "(7 days after that entry was written)" in text

    # Nothing after its position is folded, and maintenance says why.
    told = maintain(place)
    assert "counts" in told.stdout + told.stderr and "followers forget counts" in told.stdout + told.stderr
    kept = [entry["n"] for entry in Lake(place / "lake").entries()]
    assert set(range(3, last + 1)) <= set(kept)
    assert listed(place)["counts"]["holds"] > 0

    # Once forgotten, it holds nothing back. A follower that registered a moment ago may register again.
    done = followers(place, "forget", "counts")
    assert done.stdout == "counts: forgotten; nothing is kept for it any more\n" and "minute ago" not in done.stderr
    done = followers(place, "forget", "alerts")
    assert "if it still runs, it registers again" in done.stderr
    assert listed(place) == {}
    refused("followers", "forget", "counts", "--lake", place / "lake", names=["no follower counts"])
    told = maintain(place)
    assert "followers forget" not in told.stdout + told.stderr
    assert min(entry["n"] for entry in Lake(place / "lake").entries()) > 3
    run("verify", "--lake", place / "lake")


def test_one_that_is_behind_what_is_folded_will_be_rebuilt(place):
    maintain(place)
    maintain(place)
    first = min(entry["n"] for entry in Lake(place / "lake").entries())
    assert first > 2
    register(place, "counts", 1, registration("counts", {"file": 1}))
    assert listed(place)["counts"]["kept"] == "folded"
    assert "it will be rebuilt when it comes back" in followers(place, "list").stdout


def test_a_registration_that_cannot_be_read_is_named_and_can_be_forgotten(place):
    register(place, "counts", 3, b"\x00 no JSON")
    for command in (["followers", "list"], ["followers", "list", "--json"]):
        refused(*command, "--lake", place / "lake", names=["registration 3 of follower counts", "forget counts"])
    followers(place, "forget", "counts")
    assert listed(place) == {}
    newer = json.dumps({"format": 99, "name": "counts", "at": 0, "applied": {}}).encode()
    register(place, "counts", 1, newer)
    refused("followers", "list", "--lake", place / "lake", names=["format 99"])
    followers(place, "forget", "counts")
    assert listed(place) == {}


def test_what_is_no_name_or_no_lake_is_refused(place):
    for name in ("a/b", "", "x" * 65):
        refused("followers", "forget", name, "--lake", place / "lake", names=["no name of a follower"])
    assert attempt("followers", "list", "--lake", place / "nothing").code != 0
    assert not (place / "nothing").exists()
