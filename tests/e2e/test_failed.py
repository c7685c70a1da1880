"""Code that fails on one record: three attempts, then a dead letter with its bytes; the rest is stored as if it were not there.
Code that fails on scoring: the service ends, names the event, and goes on from there once the code is mended."""

import gzip
import re

import pytest

from authpulse import EXCERPT, attempt, refused, run
from read_lake import CURATED, REJECTED, TABLES, Lake, assert_same

MARK = "FAILS-HERE"
FAIL_ON = {"env": {"AUTHPULSE_FAIL_ON": MARK}, "may_panic": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The excerpt with records on which the code fails: the first, two close together, one that would be a duplicate, one that is
    no event, the last. And the excerpt without them."""
    place = tmp_path_factory.mktemp("failed")
    lines = gzip.decompress(EXCERPT.read_bytes()).splitlines()
    (place / "good.txt").write_bytes(b"\n".join(lines) + b"\n")
    failing = {
        0: b"1,U1@DOM1,FAILS-HERE",
        1500: b"1,FAILS-HERE,C1",
        1501: b'{"time":1,"user":"FAILS-HERE","computer":"C1","note":"\xc3\xa9"}',
        3000: lines[2999] + b",FAILS-HERE",
        4000: b"\xff\x00 FAILS-HERE \xfe",
        5000: lines[-1].rsplit(b",", 1)[0] + b",FAILS-HERE",
    }
    mixed = [line for at in range(len(lines) + 1) for line in (failing.get(at), *lines[at : at + 1]) if line is not None]
    (place / "mixed.txt").write_bytes(b"\n".join(mixed) + b"\n")
    assert len(mixed) == 5006
    run("backfill", "--input", place / "good.txt", "--lake", place / "good")
    return place, sorted(failing.values())


def expect_failed_aside(place, directory, result):
    """Checks that everything but the failed records was stored as if nothing else had come."""
    good, lake = Lake(place / "good"), Lake(directory)
    for table in TABLES[:3]:
        assert_same(good.comparable(table), lake.comparable(table), f"{table}, the failed records aside\n{result}")
    assert {row["reason"] for row in lake.rows(REJECTED)} == {"failed"}
    run("verify", "--lake", directory)
    return lake


def test_a_backfill_goes_past_records_on_which_the_code_fails(place):
    place, failing = place
    result = run("backfill", "--input", place / "mixed.txt", "--lake", place / "file", "--raw", **FAIL_ON)
    assert [result.count(word) for word in ("received", "curated", "rejected", "failed")] == [5006, 5000, 6, 6], result
    assert result.stderr.count("rebuilding the shard") == 3 * len(failing), result
    lake = expect_failed_aside(place, place / "file", result)
    letters = lake.rows(REJECTED)
    assert sorted(letter["payload"] for letter in letters) == failing
    assert all(letter["payload_bytes"] == len(letter["payload"]) for letter in letters)
    assert sorted(int(letter["sequence_number"]) for letter in letters) == [1, 1502, 1504, 3004, 4005, 5006]
    assert all("three times" in letter["detail"] for letter in letters)
    assert len(lake.raw()) == 5006, "raw holds them as well"


@pytest.mark.parametrize("shards", [1, 3])
def test_a_service_goes_past_records_on_which_the_code_fails(place, shards):
    place, failing = place
    stream, directory = f"local:{place / f'stream{shards}'}", place / f"lake{shards}"
    run("replay", "--input", place / "mixed.txt", "--stream", stream, "--shards", shards, "--max", "--close")
    result = run("consume", "--stream", stream, "--lake", directory, **FAIL_ON)
    assert result.stderr.count("rebuilding the shard") == 3 * len(failing), result
    lake = expect_failed_aside(place, directory, result)
    letters, raw = lake.rows(REJECTED), lake.raw()
    assert len(letters) == len(failing) and len(raw) == 5006
    received = {(r["shard_id"], r["sequence_number"]): r["payload"] for r in raw}
    for letter in letters:
        assert letter["payload"] == received[letter["shard_id"], letter["sequence_number"]], "the bytes as received"
        assert MARK.encode() in letter["payload"]


def test_what_was_interrupted_and_failed_goes_on_without_the_fault(place, tmp_path):
    """Entries are stored between the failures, so that a rebuild starts from the journal."""
    place, _ = place
    settings = tmp_path / "small.toml"
    settings.write_text("[store]\nroll_rows = 500\n")
    words = ["backfill", "--input", place / "mixed.txt", "--lake", tmp_path / "lake", "--config", settings]
    result = run(*words, **FAIL_ON)
    assert [result.count(word) for word in ("received", "curated", "failed")] == [5006, 5000, 6], result
    assert int(re.search(r"entries.*?([\d,]+)", run("verify", "--lake", tmp_path / "lake").stdout)[1]) > 10
    expect_failed_aside(place, tmp_path / "lake", result)


@pytest.mark.parametrize("way", ["backfill", "consume"])
def test_a_failure_while_scoring_ends_the_run_and_loses_nothing(place, tmp_path, way):
    place, _ = place
    if way == "backfill":
        words = ["backfill", "--input", place / "good.txt", "--lake", tmp_path / "lake"]
        shard = "file"
    else:
        stream = f"local:{tmp_path / 'stream'}"
        run("replay", "--input", place / "good.txt", "--stream", stream, "--shards", 2, "--max", "--close")
        words = ["consume", "--stream", stream, "--lake", tmp_path / "lake"]
        shard = r"shardId-00000000000\d@\S+"
    named = rf"scoring the event of \S+ on \S+ at 2015-01-01T\S+ \(shard {shard}\) failed .* up to entry \d+, nothing is lost"
    refused(*words, env={"AUTHPULSE_FAIL_AT": "score@2"}, may_panic=True, names=[named])
    after = attempt("verify", "--lake", tmp_path / "lake")
    assert after.code == 0, after
    run(*words)
    for table in TABLES:
        assert_same(Lake(place / "good").comparable(table), Lake(tmp_path / "lake").comparable(table), table)
    assert len(Lake(tmp_path / "lake").rows(CURATED)) == 5000
