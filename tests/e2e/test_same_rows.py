"""One input, every way into a lake: a file, a stream of 1, 2, 4 or 8 shards, the demo. The same rows each time."""

import json

import pytest

import nasty
from authpulse import run
from read_lake import CURATED, DAILY, HOURLY, REJECTED, TABLES, Lake, assert_same

SHARDS = (1, 2, 4, 8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("same_rows")


@pytest.fixture(scope="module")
def counts(place):
    return nasty.write(place / "nasty.txt")


@pytest.fixture(scope="module")
def from_file(place, counts):
    result = run("backfill", "--input", place / "nasty.txt", "--lake", place / "file")
    events, duplicates, invalid = counts
    told = [result.count(word) for word in ("received", "curated", "duplicate", "invalid")]
    assert told == [events + duplicates + invalid, events, duplicates, invalid], result
    assert result.count("rejected") == duplicates + invalid, f"nothing may be late or future here\n{result}"
    return Lake(place / "file")


@pytest.fixture(scope="module")
def from_stream(place, counts):
    """Lakes by number of shards, each made on first use."""
    lakes = {}

    def lake(shards):
        if shards not in lakes:
            stream, directory = place / f"stream{shards}", place / f"lake{shards}"
            text = place / "nasty.txt"
            run("replay", "--input", text, "--stream", f"local:{stream}", "--shards", shards, "--max", "--close")
            run("consume", "--stream", f"local:{stream}", "--lake", directory)
            lakes[shards] = Lake(directory)
        return lakes[shards]

    return lake


def test_the_input_is_worth_it(from_file):
    """Every rule fires and every table has rows; otherwise equality would say little."""
    curated = from_file.rows(CURATED)
    flags = {flag for row in curated for flag in row["risk_flags"]}
    assert flags == {"NEW_DEVICE", "BURST_LOGIN", "LATERAL_MOVEMENT", "RARE_HOST"}
    assert {row["risk_level"] for row in curated} == {"LOW", "MEDIUM", "HIGH", "CRITICAL"}
    assert len({row["event_date"] for row in curated}) >= 4
    assert {row["reason"] for row in from_file.rows(REJECTED)} == {"invalid", "duplicate"}
    assert any(row["high_risk_events"] for row in from_file.rows(DAILY))


def test_sums_agree_across_tables(from_file):
    curated, hourly, daily = (from_file.rows(table) for table in (CURATED, HOURLY, DAILY))
    assert len(curated) == sum(r["total_logins"] for r in hourly) == sum(r["total_logins"] for r in daily)
    assert sum(r["risk_score"] for r in curated) == sum(r["total_risk_score"] for r in hourly)
    assert sum(r["risk_score"] > 50 for r in curated) == sum(r["high_risk_events"] for r in daily)


@pytest.mark.parametrize("shards", SHARDS)
def test_a_stream_gives_the_rows_of_the_file(from_file, from_stream, shards):
    lake = from_stream(shards)
    for table in TABLES:
        ours, theirs = from_file.comparable(table, payload=False), lake.comparable(table, payload=False)
        assert_same(ours, theirs, f"{table}: file, and stream of {shards}")


@pytest.mark.parametrize("shards", SHARDS[1:])
def test_dead_letters_of_streams_have_the_same_payloads(from_stream, shards):
    one, many = from_stream(SHARDS[0]), from_stream(shards)
    assert_same(one.comparable(REJECTED), many.comparable(REJECTED), f"dead letters of 1 and {shards} shards")


@pytest.mark.parametrize("shards", SHARDS)
def test_raw_of_a_stream_holds_every_record(from_stream, counts, shards):
    raw = from_stream(shards).raw()
    assert len(raw) == sum(counts)
    assert len({(r["shard_id"], r["sequence_number"], r["sub_sequence_number"]) for r in raw}) == len(raw)
    one = sorted(r["payload"] for r in from_stream(SHARDS[0]).raw())
    assert sorted(r["payload"] for r in raw) == one


@pytest.mark.parametrize("shards", SHARDS)
def test_the_programs_own_audit_agrees(place, from_stream, shards):
    from_stream(shards)
    run("verify", "--lake", place / f"lake{shards}")
    status = json.loads(run("status", "--lake", place / f"lake{shards}", "--json").stdout)
    assert [shard["state"] for shard in status["shards"]] == ["sealed"] * shards
    assert {table["behind"] for table in status["tables"]} == {0}


def test_the_demo_gives_the_rows_of_the_file(place, from_file, counts):
    run("demo", "--input", place / "nasty.txt", "--lake", place / "demo", "--shards", 3)
    demo = Lake(place / "demo")
    for table in TABLES:
        ours, theirs = from_file.comparable(table, payload=False), demo.comparable(table, payload=False)
        assert_same(ours, theirs, f"{table}: file and demo")
    run("verify", "--lake", place / "demo")


def test_the_file_in_two_parts_gives_the_rows_of_the_file(place, from_file):
    """The file is cut between two lines, and the lake kept open for the second part."""
    lines = (place / "nasty.txt").read_bytes().split(b"\n")
    middle = len(lines) // 2
    parts = [place / "part1.txt", place / "part2.txt"]
    parts[0].write_bytes(b"\n".join(lines[:middle]) + b"\n")
    parts[1].write_bytes(b"\n".join(lines[middle:]))
    run("backfill", "--input", parts[0], "--lake", place / "parts", "--keep-open")
    run("backfill", "--input", parts[1], "--lake", place / "parts")
    run("backfill", "--input", *parts, "--lake", place / "both")
    for table in TABLES:
        whole = from_file.comparable(table)
        assert_same(whole, Lake(place / "both").comparable(table), f"{table}: one file, and its parts in one run")
        assert_same(whole, Lake(place / "parts").comparable(table), f"{table}: one file, and its parts in two runs")


@pytest.mark.parametrize("packing", ["gz", "bz2", "zst"])
def test_packed_files_give_the_rows_of_the_plain_one(place, from_file, packing):
    import bz2
    import gzip

    import zstandard

    plain = (place / "nasty.txt").read_bytes()
    half = len(plain) // 2
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstandard.ZstdCompressor().compress}[packing]
    # Two members in one file, as `cat a.gz b.gz` makes it; the cut goes through a line.
    packed = place / f"nasty.{packing}"
    packed.write_bytes(pack(plain[:half]) + pack(plain[half:]))
    run("backfill", "--input", packed, "--lake", place / packing)
    for table in TABLES:
        assert_same(from_file.comparable(table), Lake(place / packing).comparable(table), f"{table}: plain and {packing}")


@pytest.mark.parametrize("shards", [1, 4])
def test_a_lake_that_a_stream_continues_has_the_rows_of_the_whole_file(place, from_file, shards):
    """History by backfill, the rest by stream, into one lake."""
    lines = (place / "nasty.txt").read_bytes().split(b"\n")
    middle = len(lines) // 2
    first, second = place / f"history{shards}.txt", place / f"rest{shards}.txt"
    first.write_bytes(b"\n".join(lines[:middle]) + b"\n")
    second.write_bytes(b"\n".join(lines[middle:]))
    lake, stream = place / f"continued{shards}", f"local:{place / f'rest-stream{shards}'}"
    run("backfill", "--input", first, "--lake", lake, "--keep-open")
    run("replay", "--input", second, "--stream", stream, "--shards", shards, "--max", "--close")
    run("consume", "--stream", stream, "--lake", lake)
    for table in TABLES:
        ours, theirs = from_file.comparable(table, payload=False), Lake(lake).comparable(table, payload=False)
        assert_same(ours, theirs, f"{table}: file, and file continued by a stream of {shards}")
