"""What a program of before wrote goes on as if that program had gone on itself, and its audit finds nothing."""

import json

import pytest

from authpulse import run
from lakes_of_before import DATA, PLACE, continue_all, rows_of, unpacked
from read_lake import Lake


def holds_what_it_was_made_for():
    history = Lake(PLACE / "history").entries()
    assert all(entry["format"] == 1 for entry in history) and any(entry.get("snapshot") for entry in history)
    assert any(entry["counts"]["waiting"] for entry in history), "an event waits"
    assert any(entry["counts"]["unscored"] for entry in history[-3:]), "events wait for their scores"
    *_, last = Lake(PLACE / "unfinished").entries()
    lines = len((PLACE / "unfinished.txt").read_text().splitlines())
    assert not last["backfill"]["finished"] and 0 < int(last["to"]["sequence"]) < lines, "in the middle of its file"
    *_, last = Lake(PLACE / "empty").entries()
    assert last["sealed"] < 0, "sealed up to the beginning of time"


def test_lakes_of_before_go_on():
    expected = json.loads((DATA / "rows.json").read_text())
    with unpacked():
        holds_what_it_was_made_for()
        continue_all()
        for name, rows in expected.items():
            assert rows_of(name) == rows, f"rows of {name}"
            assert "verified: received = " in run("verify", "--lake", PLACE / name).stdout, name


@pytest.mark.parametrize("name", ["history", "live", "unfinished", "empty"])
def test_lakes_of_before_verify_as_they_are(name):
    with unpacked():
        run("verify", "--lake", PLACE / name)
