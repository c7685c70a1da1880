"""Lakes of older programs go on as if those programs had gone on themselves, and their audit finds nothing wrong."""

import json
import os
import sqlite3
import subprocess

import pytest

from authpulse import PROGRAM, run
from lakes_of_before import SETS

# The auditors of what this program wrote: itself, and the program of shape-before if there is one (tests/before.sh), which must find
# nothing that is too new for it.
AUDITORS = [PROGRAM, *filter(None, [os.environ.get("AUTHPULSE_BEFORE")])]
EACH = [(before, name) for before in SETS.values() for name in before.names]


def folded(before, name):
    """How many checkpoints the journals have, and how many entries that these stand for are removed."""
    with sqlite3.connect(before.place / name / "journal.db") as journal:
        (count,) = journal.execute("SELECT count(*) FROM bases").fetchone()
        before_first = "SELECT sum(first - 1) FROM (SELECT min(n) AS first FROM entries GROUP BY shard)"
        (gone,) = journal.execute(before_first).fetchone()
    return count, gone


def holds_what_it_was_made_for(before):
    history = before.lake("history").entries()
    assert all(entry["format"] == before.entry_format for entry in history)
    assert any(entry.get("snapshot") for entry in history)
    assert any(entry["counts"]["waiting"] for entry in history), "an event waits"
    assert any(entry["counts"]["unscored"] for entry in history[-3:]), "events wait for their scores"
    *_, last = before.lake("unfinished").entries()
    lines = len((before.place / "unfinished.txt").read_text().splitlines())
    assert not last["backfill"]["finished"] and 0 < int(last["to"]["sequence"]) < lines, "in the middle of its file"
    *_, last = before.lake("empty").entries()
    assert last["sealed"] < 0, "sealed up to the beginning of time"
    if before.has_bases:
        count, gone = folded(before, "history")
        assert count > 0 and gone > 0, f"{count} bases, and {gone} folded entries are gone"
    if "split" in before.names:
        split = before.lake("split").entries()
        assert sum(entry["end"] for entry in split) == 1 and sum("inherits" in entry for entry in split) == 2


@pytest.mark.parametrize("before", SETS.values(), ids=SETS)
def test_lakes_of_before_go_on(before):
    expected = json.loads((before.data / "rows.json").read_text())
    assert set(expected) == set(before.names)
    with before.unpacked():
        holds_what_it_was_made_for(before)
        before.continue_all()
        for name, rows in expected.items():
            assert before.rows_of(name) == rows, f"rows of {name}"
            for program in AUDITORS:
                words = [program, "verify", "--lake", before.place / name]
                audit = subprocess.run(words, capture_output=True, text=True, timeout=240)
                assert audit.returncode == 0, f"{name}, audited by {program}:\n{audit.stdout}\n{audit.stderr}"
                assert "verified: received = " in audit.stdout, name
            # Events of three fields need nothing that the program of shape-before cannot read.
            *_, last = before.lake(name).entries()
            assert last["format"] == 2, f"the newest entry of {name}"


@pytest.mark.parametrize("before, name", EACH, ids=[f"{before.version}-{name}" for before, name in EACH])
def test_lakes_of_before_verify_as_they_are(before, name):
    with before.unpacked():
        run("verify", "--lake", before.place / name)
