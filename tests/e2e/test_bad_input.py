"""Whatever the input: a clear refusal that names the fault, or counted rejections that add up. Never a panic, never a loss."""

import bz2
import contextlib
import gzip
import io
import json
import os
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from datetime import datetime
from pathlib import Path

import pytest
import zstandard

from authpulse import EXCERPT, PROGRAM, attempt, last_error, refused, run, start
from read_lake import CURATED, REJECTED, TABLES, Lake, assert_same, changed_entry

MIB = 1 << 20
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "zst": zstandard.ZstdCompressor().compress}


@pytest.fixture
def ways(tmp_path):
    """Puts a file into a lake by each way, which must agree; returns the lake and (received, curated, rejected)."""

    def load(content):
        text = tmp_path / "input.txt"
        text.write_bytes(content)
        backfilled = attempt("backfill", "--input", text, "--lake", tmp_path / "file")
        # If the file has no event, the exit code says so, and the lake is there all the same.
        none = backfilled.count("received") > 0 and backfilled.count("curated") == 0
        assert backfilled.code == int(none), backfilled
        stream = f"local:{tmp_path / 'stream'}"
        run("replay", "--input", text, "--stream", stream, "--shards", 2, "--max", "--close")
        run("consume", "--stream", stream, "--lake", tmp_path / "lake")
        told = tuple(backfilled.count(word) for word in ("received", "curated", "rejected"))
        from_file, from_stream = Lake(tmp_path / "file"), Lake(tmp_path / "lake")
        for table in TABLES:
            ours, theirs = from_file.comparable(table, payload=False), from_stream.comparable(table, payload=False)
            assert_same(ours, theirs, f"{table}: file and stream")
        assert told[0] == told[1] + told[2], backfilled
        assert told == (told[0], len(from_file.rows(CURATED)), len(from_file.rows(REJECTED))), backfilled
        assert len(from_stream.raw()) == told[0], "raw holds every record of the stream"
        return from_file, told

    return load


@contextlib.contextmanager
def mounted(path, options):
    """A small file system of its own. This needs the right to mount, and says so if that is missing."""
    path.mkdir(exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", path], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"a file system with '{options}' cannot be mounted here: {mount.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


# --- content -----------------------------------------------------------------------------------------------------


def test_binary_junk_is_kept_as_dead_letters(ways):
    import random

    junk = random.Random(7).randbytes(300_000)
    lake, (received, curated, _) = ways(junk)
    letters = lake.rows(REJECTED)
    assert curated == 0 and received > 1000
    assert {letter["reason"] for letter in letters} == {"invalid"}
    letters.sort(key=lambda letter: int(letter["sequence_number"]))
    lines = [line.removesuffix(b"\r") for line in junk.split(b"\n")]
    assert [letter["payload"] for letter in letters] == [line for line in lines if line.strip(b" \t")]


def test_lines_around_the_limit(ways):
    def line(length):
        return b'{"time":1,"user":"U1","computer":"C1","x":"'.ljust(length - 2, b"x") + b'"}'

    long = [line(MIB), line(MIB + 1), line(20 * MIB)]
    lake, told = ways(b"\n".join(long) + b"\r\n" + b" " * (MIB + 1) + b"\n" + b" " * MIB + b"\n2,U1,C1\n")
    assert told == (5, 2, 3)
    letters = sorted(lake.rows(REJECTED), key=lambda letter: int(letter["sequence_number"]))
    assert [letter["payload_bytes"] for letter in letters] == [MIB + 1, 20 * MIB, MIB + 1]
    assert [letter["payload"] for letter in letters] == [long[1][:65536], long[2][:65536], b" " * 65536]
    assert [int(letter["sequence_number"]) for letter in letters] == [2, 3, 4]


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf", b" \t\r\n\r\n\n"], ids=["empty", "line", "mark", "blank"])
def test_a_file_without_records(ways, content):
    _, told = ways(content)
    assert told == (0, 0, 0)


@pytest.mark.parametrize("packing", PACKERS)
def test_an_empty_packed_file(tmp_path, packing):
    (tmp_path / "input").write_bytes(PACKERS[packing](b""))
    result = run("backfill", "--input", tmp_path / "input", "--lake", tmp_path / "lake")
    assert result.count("received") == 0
    assert Lake(tmp_path / "lake").rows(CURATED) == []


def test_line_ends_and_text(ways):
    lake, told = ways(
        b"\xef\xbb\xbf1,U1,C1\r\n"
        b"2,U1,C1\r\r\n"  # one CR belongs to the line end, the other is a control character in a name
        b"3,U\xff,C1\n"
        b"4,\xc3\xa9,C1\n"
        b"5,U1,C1\x00\n"
        b"\xef\xbb\xbf6,U1,C1\n"
        b"7,U1,C1"
    )
    assert told == (7, 3, 4)
    assert sorted(row["user_id"] for row in lake.rows(CURATED)) == ["U1", "U1", "é"]
    payloads = {letter["payload"] for letter in lake.rows(REJECTED)}
    assert payloads == {b"2,U1,C1\r", b"3,U\xff,C1", b"5,U1,C1\x00", b"\xef\xbb\xbf6,U1,C1"}


def test_times_at_the_ends_of_the_calendar(ways):
    """The last instant before the year 10000 is a time, but ahead of its arrival; the next one is no time. The first one likewise."""
    last = int((datetime(9999, 12, 31, 23, 59, 59) - datetime(2015, 1, 1)).total_seconds())
    lake, told = ways(
        b"0001-01-01T00:00:00Z,U1,C1\n0001-01-01T00:00:01+00:00,U2,C1\n0001-01-01T00:00:00+00:01,U1,C1\n"
        + f"{last},U1,C1\n9999-12-31T23:59:59.999999Z,U2,C1\n{last + 1},U1,C1\n9999-12-31T23:59:59-00:01,U3,C1\n".encode()
    )
    assert told == (7, 2, 5)
    assert {row["event_time"] for row in lake.rows(CURATED)} == {datetime(1, 1, 1), datetime(1, 1, 1, 0, 0, 1)}
    assert sorted(row["reason"] for row in lake.rows(REJECTED)) == ["future"] * 2 + ["invalid"] * 3


def test_times_as_shippers_write_them(ways):
    """Each event is a day after the last and has its own user; an invalid time says what to do. File and stream agree."""
    events = [
        b"2015-01-01t00:00:00z,U0,C1",
        b"2015-01-02 00:00:00+0000,U1,C1",
        b"2015-01-03 05:30:00.0+0530,U2,C1",
        b'{"time":"2015-01-04 00:00:00,000Z","user":"U3","computer":"C1","host":"Caf\xe9\t","load":NaN}',
        b"2015-01-04T23:59:60.5Z,U4,C1",
    ]
    refused = {
        b"2015-01-01 00:00:00,U9,C1": "no zone",
        b"2015-01-01 00:00:00,5Z,U9,C1": "a comma before its fraction",
        b"1448000000000,U9,C1": 'divide by 1000, and set base = "1970-01-01T00:00:00Z"',
        b"1448000000,U9,C1": 'if it is seconds since 1970, set base = "1970-01-01T00:00:00Z"',
    }
    lake, told = ways(b"\n".join([*events, *refused]))
    assert told == (9, 5, 4)
    times = {row["user_id"]: row["event_time"] for row in lake.rows(CURATED)}
    expected = {f"U{n}": datetime(2015, 1, n + 1) for n in range(4)}
    assert times == expected | {"U4": datetime(2015, 1, 4, 23, 59, 59, 999999)}
    letters = {row["payload"]: row["detail"] for row in lake.rows(REJECTED)}
    assert letters.keys() == refused.keys()
    for payload, words in refused.items():
        assert words in letters[payload], letters[payload]


@pytest.mark.parametrize("wrong", ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_one_broken_clock_does_not_make_the_rest_late(tmp_path, wrong):
    """A lone time years ahead, in the middle of a day, is rejected as `future`; the events after it are scored."""
    lines = [f"{n},U{n % 9},C{n % 5}" for n in range(1, 200)]
    lines.insert(100, f"{wrong},U1,C1")
    (tmp_path / "input").write_text("\n".join(lines))
    result = run("backfill", "--input", tmp_path / "input", "--lake", tmp_path / "lake")
    assert [result.count(word) for word in ("received", "curated", "future")] == [200, 199, 1], result


def test_an_event_id_that_names_a_kind_of_event(ways, tmp_path):
    """Some senders give every logon Windows' id 4624: only events with the same time and computer, too, are the same event."""
    event = '{{"time":{},"user":"U{}","computer":"C{}","event_id":"4624"}}'
    lines = [event.format(1_000 + n // 8, n % 4, n // 4 % 2) for n in range(400)]
    lake, told = ways("\n".join(lines + lines[-3:]).encode())
    assert told == (403, 400, 3)
    assert max(row["login_count_1h"] for row in lake.rows(CURATED)) == 100
    details = {row["detail"] for row in lake.rows(REJECTED)}
    assert details == {"an event of the same event_id, time, user and computer was accepted already"}
    run("verify", "--lake", tmp_path / "file")


# --- files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["backfill", "replay"])
@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_file_that_is_cut_off(tmp_path, packing, command):
    plain = gzip.decompress(EXCERPT.read_bytes())
    packed = PACKERS[packing](plain)
    name = f"cut.{packing}"
    (tmp_path / name).write_bytes(packed[: len(packed) - 20])
    to = {"backfill": ["--lake", tmp_path / "lake"], "replay": ["--stream", f"local:{tmp_path / 'stream'}", "--max"]}
    refused(command, "--input", tmp_path / name, *to[command], names=[name, "cut off|damaged"])


@pytest.mark.parametrize("command", ["backfill", "replay"])
@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_file_that_is_damaged(tmp_path, packing, command):
    packed = bytearray(PACKERS[packing](gzip.decompress(EXCERPT.read_bytes())))
    packed[len(packed) // 2] ^= 0x55
    name = f"damaged.{packing}"
    (tmp_path / name).write_bytes(packed)
    to = {"backfill": ["--lake", tmp_path / "lake"], "replay": ["--stream", f"local:{tmp_path / 'stream'}", "--max"]}
    refused(command, "--input", tmp_path / name, *to[command], names=[name, "damaged|cut off"])


@pytest.mark.parametrize("command", ["backfill", "replay", "demo"])
def test_a_file_that_is_none(tmp_path, command):
    missing = tmp_path / "nowhere.txt"
    to = {
        "backfill": ["--lake", tmp_path / "lake"],
        "replay": ["--stream", f"local:{tmp_path / 'stream'}"],
        "demo": ["--lake", tmp_path / "demo"],
    }
    refused(command, "--input", missing, *to[command], names=["nowhere.txt", "no such file|No such file"])
    refused(command, "--input", tmp_path, *to[command], names=[str(tmp_path), "directory"])


def test_a_pipe_is_refused_by_backfill_and_taken_by_replay(tmp_path):
    refused("backfill", "--input", "-", "--lake", tmp_path / "lake", stdin=b"1,U1,C1\n", names=["standard input"])
    stream = f"local:{tmp_path / 'stream'}"
    run("replay", "--input", "-", "--stream", stream, "--max", "--close", stdin=b"1,U1,C1\n2,U2,C2\n")
    run("consume", "--stream", stream, "--lake", tmp_path / "lake2")
    assert len(Lake(tmp_path / "lake2").rows(CURATED)) == 2


def test_other_packings_are_named(tmp_path):
    import lzma

    (tmp_path / "events.xz").write_bytes(lzma.compress(b"1,U1,C1\n"))
    refused("backfill", "--input", tmp_path / "events.xz", "--lake", tmp_path / "lake", names=["events.xz", "xz"])


def foreign_files():
    """Files that hold no lines of events, and what the message names."""
    events = [f"{n},U{n % 7},C{n % 5}" for n in range(1, 40)]
    text = "\n".join(events) + "\n"
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("events.txt")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))
    return {
        "events.tar": (tar.getvalue(), "archive"),
        "events.tar.gz": (gzip.compress(tar.getvalue()), "archive"),
        "powershell.txt": (text.encode("utf-16"), "UTF-16"),
        "semicolons.csv": (text.replace(",", ";").encode(), "';'"),
        "tabs.tsv": (text.replace(",", "\t").encode(), "tabs"),
        "old-mac.txt": (text.replace("\n", "\r").encode(), "CR alone"),
        "array.json": (json.dumps([{"time": n, "user": "U1", "computer": "C1"} for n in range(1, 9)]).encode(), "JSON array"),
        "auth.txt": (b"1,C1$@D,U1@D,C1,C2,Kerberos,Network,LogOn,Success\n" * 9, "nine columns"),
        "events.parquet": (b"PAR1\x15\x04\x15" + bytes(range(200)), "Parquet"),
    }


@pytest.mark.parametrize("command", ["backfill", "replay", "demo"])
def test_what_is_no_file_of_events_is_refused_before_anything_is_made(tmp_path, command):
    for name, (content, words) in foreign_files().items():
        (tmp_path / name).write_bytes(content)
        made = tmp_path / f"{name}.made"
        to = {"replay": ["--stream", f"local:{made}", "--max"]}.get(command, ["--lake", made])
        refused(command, "--input", tmp_path / name, *to, names=[name, words])
        assert not made.exists(), f"{name}: nothing is made"


def test_a_file_of_which_all_is_rejected_fails_and_leaves_a_lake_that_goes_on(tmp_path):
    (tmp_path / "bad.txt").write_text("1,U1\n2,U2\nU3,C3\n")
    (tmp_path / "none.txt").write_bytes(b"")
    lake = tmp_path / "lake"
    result = refused("backfill", "--input", tmp_path / "bad.txt", "--lake", lake, names=["every record", "bad.txt: 3 of 3 records"])
    assert result.code == 1 and "nothing is sealed" in result.stdout, result
    for name in ("none.txt", "none.txt"):
        assert "nothing is sealed" in run("backfill", "--input", tmp_path / name, "--lake", lake).stdout
    run("verify", "--lake", lake)
    assert "nothing was accepted" in run("status", "--lake", lake).stdout
    assert len(Lake(lake).rows(REJECTED)) == 3
    (tmp_path / "most.txt").write_text("1,U1\n2,U2\n3,U3,C3\n")
    result = run("backfill", "--input", tmp_path / "most.txt", "--input", EXCERPT, "--lake", lake)
    assert re.search(r"most.txt: 2 of 3 records \(66 %\) are rejected as invalid", result.stderr), result
    assert "nothing is sealed" not in result.stdout and len(Lake(lake).rows(REJECTED)) == 5
    run("verify", "--lake", lake)


def test_too_few_descriptors_are_no_want_of_rights(tmp_path):
    (tmp_path / "one.txt").write_text("1,U1,C1\n")
    refusals = 0
    for most in range(9, 40, 2):
        limit = lambda most=most: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # noqa: E731
        result = attempt("backfill", "--input", tmp_path / "one.txt", "--lake", tmp_path / "lake", preexec_fn=limit)
        if result.code == 0:
            break
        last = last_error(result)
        assert "ulimit -n" in last and "this user must" not in last and not DAMAGE.search(last), f"{most} descriptors\n{result}"
        refusals += 1
    assert result.code == 0 and refusals >= 3, result
    assert len(Lake(tmp_path / "lake").rows(CURATED)) == 1


def test_an_interrupted_backfill_goes_on_with_its_own_file_only(tmp_path):
    """The file is cut off. With the missing part put back it is another file, and the program says so; the lake loses nothing."""
    plain = gzip.decompress(EXCERPT.read_bytes())
    packed = gzip.compress(plain)
    (tmp_path / "events.gz").write_bytes(packed[:-20])
    refused("backfill", "--input", tmp_path / "events.gz", "--lake", tmp_path / "lake", names=["events.gz"])
    (tmp_path / "events.gz").write_bytes(packed)
    result = attempt("backfill", "--input", tmp_path / "events.gz", "--lake", tmp_path / "lake")
    if result.code == 0:
        assert len(Lake(tmp_path / "lake").rows(CURATED)) == 5000
    else:
        assert "not finished" in result.stderr, result


# --- lakes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sealed") / "lake"
    run("backfill", "--input", EXCERPT, "--lake", directory)
    return directory


@pytest.fixture
def lake(tmp_path):
    """A lake of 5,000 events that a test may damage."""
    run("backfill", "--input", EXCERPT, "--lake", tmp_path / "lake")
    return tmp_path / "lake"


def open_lake(tmp_path, name="open"):
    """A lake that more input can continue."""
    run("backfill", "--input", EXCERPT, "--lake", tmp_path / name, "--keep-open")
    return tmp_path / name


def later_file(tmp_path):
    lines = [f"{400 + n},U{n % 9},C{n % 7}" for n in range(50)]
    (tmp_path / "later.txt").write_text("\n".join(lines) + "\n")
    return tmp_path / "later.txt"


def lake_commands(directory, tmp_path):
    """Every command that takes a lake."""
    stream = tmp_path / "some-stream"
    if not stream.exists():
        run("stream", "create", "--stream", f"local:{stream}", "--shards", 1)
    (tmp_path / "empty.toml").write_text("")
    return [
        ["backfill", "--input", EXCERPT, "--lake", directory],
        ["consume", "--stream", f"local:{stream}", "--lake", directory, "--until-caught-up"],
        ["verify", "--lake", directory],
        ["status", "--lake", directory],
        ["config", "check", tmp_path / "empty.toml", "--lake", directory],
    ]


def test_a_lake_with_a_newer_layout(lake, tmp_path):
    marker = json.loads((lake / "lake.json").read_text())
    (lake / "lake.json").write_text(json.dumps({**marker, "layout": 2}))
    for command in lake_commands(lake, tmp_path):
        refused(*command, names=[str(lake), "layout 2", "newer"])


def test_a_lake_with_a_newer_entry(lake, tmp_path):
    with sqlite3.connect(lake / "journal.db") as journal:
        shard, n, body = journal.execute("SELECT shard, n, body FROM entries ORDER BY n DESC LIMIT 1").fetchone()
        body = changed_entry(body, format=1000)
        journal.execute("UPDATE entries SET body = ? WHERE shard = ? AND n = ?", [body, shard, n])
    for command in lake_commands(lake, tmp_path):
        refused(*command, names=[f"entry {n}", "newer"])


@pytest.mark.parametrize("name", ["journal.db", "catalog.db", "lake.json"])
def test_a_lake_with_a_destroyed_file(lake, tmp_path, name):
    (lake / name).write_bytes(b"\xff\x00 nothing that anyone wrote" * 500)
    for extra in (f"{name}-wal", f"{name}-shm"):
        (lake / extra).unlink(missing_ok=True)
    for command in lake_commands(lake, tmp_path):
        refused(*command, names=[name])


def test_a_directory_that_is_no_lake(tmp_path):
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"meow")
    for command in lake_commands(other, tmp_path):
        refused(*command, names=["photos", "not a lake"])
    assert [f.name for f in other.iterdir()] == ["cat.jpg"], "a refused directory is left as it was"
    refused("demo", "--events", 1000, "--lake", other, "--fresh", names=["photos"])
    assert (other / "cat.jpg").read_bytes() == b"meow"


def test_a_lake_that_is_missing(tmp_path):
    missing = tmp_path / "nowhere"
    for command in lake_commands(missing, tmp_path)[2:]:
        refused(*command, names=["nowhere", "no lake"])
    assert not missing.exists(), "looking makes nothing"


def test_a_lake_below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    for command in lake_commands(tmp_path / "file" / "lake", tmp_path):
        refused(*command, names=["file/lake"])


def test_a_read_only_directory(tmp_path):
    with mounted(tmp_path / "ro", "ro,size=1m") as place:
        for command in lake_commands(place / "lake", tmp_path)[:2]:
            refused(*command, names=["ro/lake", "[Rr]ead-only|cannot be made"])


def test_a_second_writer_is_refused_by_name(tmp_path):
    stream, directory = f"local:{tmp_path / 'stream'}", tmp_path / "lake"
    run("replay", "--input", EXCERPT, "--stream", stream, "--max")
    consumer = start("consume", "--stream", stream, "--lake", directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (directory / ".lock").exists() or str(consumer.pid) not in (directory / ".lock").read_text():
            assert consumer.poll() is None and time.monotonic() < deadline, "the consumer takes the lake"
            time.sleep(0.02)
        # A backfill needs the lake alone; a consumer of the same stream may share it, one of another stream may not.
        other = f"local:{tmp_path / 'other'}"
        run("stream", "create", "--stream", other)
        for command in (
            ["backfill", "--input", EXCERPT, "--lake", directory],
            ["consume", "--stream", other, "--lake", directory, "--until-caught-up"],
        ):
            refused(*command, names=[f"process {consumer.pid}", "authpulse consume"])
    finally:
        consumer.send_signal(signal.SIGTERM)
        out, err = consumer.communicate(timeout=60)
    assert consumer.returncode == 0, f"SIGTERM is an orderly end\n{out}\n{err}"
    # The next consumer goes on where that one stopped; closing the stream seals.
    run("stream", "close", "--stream", stream)
    run("consume", "--stream", stream, "--lake", directory)
    assert len(Lake(directory).rows(CURATED)) == 5000


# --- disks that fill up ------------------------------------------------------------------------------------------


# Words that never describe a full disk, a missing right to write, or a limit.
DAMAGE = re.compile("damaged|cannot be used|restore", re.IGNORECASE)


def fits(result):
    """Whether everything was written. If not, the message must name a reason, which is not damage."""
    if result.code == 0 or "nothing to do" in result.stderr:
        return True
    last = last_error(result)
    assert re.match("error: .*([Nn]o space left|is full|[Ff]ile too large|limit on the size|code 27)", last), result
    assert not DAMAGE.search(last), result
    return False


def expect_whole(directory, expected):
    run("verify", "--lake", directory)
    for table in TABLES:
        assert_same(Lake(expected).comparable(table), Lake(directory).comparable(table), f"{table} after a full disk")


def test_a_full_disk_loses_nothing(sealed, tmp_path):
    """Ever larger disks, the same lake on each, until it fits: each attempt but the last fails with a reason."""
    with mounted(tmp_path / "disk", "size=64k") as place:
        refusals = 0
        for kib in (64, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 4096, 16384):
            subprocess.run(["mount", "-o", f"remount,size={kib}k", place], check=True)
            result = attempt("backfill", "--input", EXCERPT, "--lake", place / "lake")
            if fits(result):
                break
            refusals += 1
        assert fits(result) and refusals >= 3, f"{refusals} refusals before it fitted\n{result}"
        expect_whole(place / "lake", sealed)


def test_files_that_cannot_grow_lose_nothing(sealed, tmp_path):
    """The same without the right to mount, by a limit on the size of files (EFBIG). To SQLite it is the same as a quota (EDQUOT):
    an I/O error that is not the device's."""

    def limit(kib):
        # The signal must not end the process: the test is of a write that fails.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, resource.RLIM_INFINITY))

    directory = tmp_path / "lake"
    refusals = 0
    for kib in (0, 1, 4, 8, 16, 32, 48, 64, 96, 128, 256, 1024):
        result = attempt(
            "backfill", "--input", EXCERPT, "--lake", directory,
            preexec_fn=lambda: limit(kib), restore_signals=False,
        )  # fmt: skip
        if fits(result):
            break
        refusals += 1
    assert fits(result) and refusals >= 3, f"{refusals} refusals before it fitted\n{result}"
    expect_whole(directory, sealed)


def test_a_stream_on_a_full_disk_is_not_called_damaged(tmp_path):
    """Records that fit go in; others are refused for lack of room, and the replay can be continued once there is more."""
    with mounted(tmp_path / "disk", "size=64k") as place:
        replay = ["replay", "--input", EXCERPT, "--stream", f"local:{place / 'stream'}", "--max", "--close"]
        for kib in (64, 128):
            subprocess.run(["mount", "-o", f"remount,size={kib}k", place], check=True)
            result = refused(*replay, names=["stream.db: (create|open) failed: database or disk is full", "free some space"])
            assert not DAMAGE.search(result.stderr), result
        subprocess.run(["mount", "-o", "remount,size=16m", place], check=True)
        run(*replay)
        run("consume", "--stream", f"local:{place / 'stream'}", "--lake", tmp_path / "lake")
    assert len(Lake(tmp_path / "lake").rows(CURATED)) == 5000


def lake_and_stream(place, tmp_path):
    """A lake and a stream in one place, and every command that opens them."""
    directory, stream = place / "lake", f"local:{place / 'stream'}"
    run("backfill", "--input", EXCERPT, "--lake", directory, "--keep-open")
    run("replay", "--input", EXCERPT, "--stream", stream, "--max")
    return [
        ["backfill", "--input", later_file(tmp_path), "--lake", directory],
        ["consume", "--stream", stream, "--lake", directory, "--until-caught-up"],
        ["verify", "--lake", directory],
        ["status", "--lake", directory],
        ["consume", "--stream", stream, "--lake", tmp_path / "other", "--until-caught-up"],
        ["replay", "--input", EXCERPT, "--stream", stream, "--max"],
        ["stream", "describe", "--stream", stream],
    ]


def test_a_lake_and_a_stream_mounted_read_only_are_not_called_damaged(tmp_path):
    with mounted(tmp_path / "disk", "size=16m") as place:
        commands = lake_and_stream(place, tmp_path)
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        for command in commands:
            result = refused(*command, names=["(lake|stream|stream.db|journal.db)", "[Rr]ead-only"])
            assert not DAMAGE.search(result.stderr), result


def test_a_lake_and_a_stream_of_another_user_are_not_called_damaged(tmp_path):
    commands = lake_and_stream(tmp_path, tmp_path)
    (tmp_path / "other").mkdir(mode=0o777)
    (tmp_path / "other").chmod(0o777)
    nobody = {}
    if os.geteuid() == 0:
        # Rights do not bind root, so another user runs the commands. That user must be able to reach the place.
        program = tmp_path / "authpulse"
        shutil.copy2(PROGRAM, program)
        program.chmod(0o755)
        nobody = {"user": 65534, "group": 65534, "extra_groups": [], "executable": str(program)}
        below = tmp_path.relative_to(Path(tempfile.gettempdir()).resolve())
        for directory in [tmp_path, *tmp_path.parents][: len(below.parts)]:
            directory.chmod(directory.stat().st_mode | 0o055)
        subprocess.run([PROGRAM, "--version"], capture_output=True, check=True, **nobody)
    places = [tmp_path / "lake", tmp_path / "stream"]
    files = [file for place in places for file in [place, *place.rglob("*")]]
    for file in files:
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        for command in commands:
            result = refused(*command, names=["(lake|stream|stream.db|journal.db)", "[Pp]ermission|write the file"], **nobody)
            assert not DAMAGE.search(result.stderr), result
    finally:
        for file in files:
            file.chmod(0o755 if file.is_dir() else 0o644)


# --- settings ----------------------------------------------------------------------------------------------------


def config(tmp_path, text):
    path = tmp_path / "authpulse.toml"
    path.write_text(text)
    return path


def test_every_fault_of_a_configuration_is_named_at_once(tmp_path):
    path = config(tmp_path, "[engine]\ntolerence = 1\nsettle = 1\n[rule]\nx = 1\n[rules]\nweight_new_device = 99\n")
    names = ["authpulse.toml", "tolerence", r"\[rule\]", "settle", "sum to"]
    refused("config", "check", path, names=names)
    refused("backfill", "--input", EXCERPT, "--lake", tmp_path / "lake", "--config", path, names=names)
    assert not (tmp_path / "lake").exists(), "nothing is made under a configuration with faults"
    refused("config", "check", tmp_path / "none.toml", names=["none.toml"])
    refused("config", "check", tmp_path, names=[str(tmp_path)])
    refused("config", "check", config(tmp_path, "[engine"), names=["not TOML"])
    path.write_bytes(b"\xff\xfe")
    refused("config", "check", path, names=["authpulse.toml"])


def test_what_show_prints_is_a_configuration(tmp_path):
    path = config(tmp_path, run("config", "show").stdout)
    run("config", "check", path)
    assert run("config", "show", "--config", path).stdout == path.read_text()


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ('base = "2016-01-01T00:00:00Z"', "base"),
        ("tolerance = 200", "tolerance"),
        ("lookback = 7", "lookback"),
        ("settle = 7200", "settle"),
    ],
)
def test_a_lake_keeps_what_makes_its_rows_comparable(tmp_path, setting, name):
    directory, later = open_lake(tmp_path), later_file(tmp_path)
    path = config(tmp_path, f"[engine]\n{setting}\n")
    refused("config", "check", path, "--lake", directory, names=[name, "lake was made with"])
    refused("backfill", "--input", later, "--lake", directory, "--config", path, names=[name, "lake was made with"])
    stream = f"local:{tmp_path / 'stream'}"
    run("replay", "--input", later, "--stream", stream, "--max", "--close")
    refused("consume", "--stream", stream, "--lake", directory, "--config", path, names=[name, "lake was made with"])
    # The refusals changed nothing: with its own settings, the lake goes on.
    run("backfill", "--input", later, "--lake", directory)
    assert len(Lake(directory).rows(CURATED)) == 5050


def test_changed_weights_hold_from_then_on_under_another_name(tmp_path):
    directory, later = open_lake(tmp_path), later_file(tmp_path)
    path = config(tmp_path, "[rules]\nweight_new_device = 20\nlateral_from = 3\n")
    run("config", "check", path, "--lake", directory)
    run("backfill", "--input", later, "--lake", directory, "--config", path)
    rows = Lake(directory).rows(CURATED)
    boundary = datetime(2015, 1, 1, 0, 6, 40)
    old = {row["rule_set"] for row in rows if row["event_time"] < boundary}
    new = {row["rule_set"] for row in rows if row["event_time"] >= boundary}
    assert len(rows) == 5050 and len(old) == 1 and len(new) == 1 and old != new
    assert {20} == {row["risk_score"] for row in rows if row["rule_set"] in new and row["risk_flags"] == ["NEW_DEVICE"]}


# --- order of things ---------------------------------------------------------------------------------------------


def test_input_below_a_seal_is_refused_before_it_is_read(sealed, tmp_path):
    before = Lake(sealed).comparable(CURATED)
    refused("backfill", "--input", later_file(tmp_path), "--lake", sealed, names=["sealed up to 2015-01-02", "late"])
    assert Lake(sealed).comparable(CURATED) == before


def test_a_stream_must_exist_and_be_one(tmp_path):
    for command in (["consume", "--lake", tmp_path / "lake"], ["stream", "describe"], ["stream", "close"]):
        refused(*command, "--stream", f"local:{tmp_path / 'none'}", names=["none"])
        refused(*command, "--stream", "kafka:topic", names=["kafka:topic", "local:DIR"])
    (tmp_path / "file").write_bytes(b"x")
    refused("consume", "--lake", tmp_path / "lake2", "--stream", f"local:{tmp_path / 'file'}", names=["file"])


def test_a_closed_stream_takes_nothing_more(tmp_path):
    stream = f"local:{tmp_path / 'stream'}"
    run("replay", "--input", EXCERPT, "--stream", stream, "--max", "--close")
    refused("replay", "--input", later_file(tmp_path), "--stream", stream, "--max", names=["closed"])
    # The same file again is no error: its records are there already.
    run("replay", "--input", EXCERPT, "--stream", stream, "--max", "--close")
    run("consume", "--stream", stream, "--lake", tmp_path / "lake")
    assert len(Lake(tmp_path / "lake").rows(CURATED)) == 5000


def test_history_comes_before_streams(tmp_path):
    stream, directory = f"local:{tmp_path / 'stream'}", tmp_path / "lake"
    run("replay", "--input", EXCERPT, "--stream", stream, "--max")
    run("consume", "--stream", stream, "--lake", directory, "--until-caught-up")
    refused("backfill", "--input", later_file(tmp_path), "--lake", directory, names=["stream", "another lake"])


def test_a_reader_that_goes_away_is_no_panic(sealed):
    for words in (["status", "--lake", sealed], ["config", "show"], ["verify", "--lake", sealed]):
        reader, writer = os.pipe()
        os.close(reader)
        process = start(*words, stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        error = process.stderr.read().decode()
        assert process.wait(timeout=60) == 141 and "panicked" not in error, error


def test_a_refused_command_leaves_nothing_behind(tmp_path):
    """Every fault is found before a lake, a stream or a file is made."""
    (tmp_path / "work").mkdir()
    place = tmp_path / "work"
    stream, lake, missing = f"local:{place / 'stream'}", ["--lake", place / "lake"], place / "missing"
    existing = f"local:{tmp_path / 'existing'}"
    run("stream", "create", "--stream", existing)
    bad = config(tmp_path, "[engine]\ntolerance = -1\n")
    sink = tmp_path / "sink.toml"
    sink.write_text(f'[decisions]\nto = "file:{place / "no" / "file.jsonl"}"\n')
    (tmp_path / "events.xz").write_bytes(b"\xfd7zXZ\x00 and so on")
    replay = ["replay", "--input", EXCERPT, "--stream", stream]
    for words, name in [
        (["consume", "--stream", stream, *lake], "does not exist"),
        (["consume", "--stream", "kafka:x", *lake], "kafka:x"),
        (["consume", "--stream", existing, *lake, "--config", bad], "tolerance"),
        (["consume", "--stream", existing, *lake, "--config", sink], "decisions file"),
        (["consume", "--stream", existing, "--lake", place / "a?b"], r"misread '\?'"),
        (["backfill", "--input", missing, *lake], "no such file"),
        (["backfill", "--input", EXCERPT, missing, *lake], "no such file"),
        (["backfill", "--input", tmp_path, *lake], "is a directory"),
        (["backfill", "--input", "-", *lake], "not a regular file"),
        (["backfill", "--input", tmp_path / "events.xz", *lake], "packed as xz"),
        (["backfill", "--input", EXCERPT, *lake, "--config", bad], "tolerance"),
        (["backfill", "--input", EXCERPT, *lake, "--config", missing], "cannot be read"),
        (["backfill", "--input", EXCERPT, "--lake", place / "50%" / "lake"], "misread"),
        ([*replay, "--rate", "0"], "a rate of 0"),
        ([*replay, "--speed", "inf"], "a speed of inf"),
        ([*replay, "--batch-size", "0"], "--batch-size"),
        ([*replay, "--shards", "0"], "--shards"),
        ([*replay, "--config", bad], "tolerance"),
        (["replay", "--input", missing, "--stream", stream], "no such file"),
        (["replay", "--input", tmp_path / "events.xz", "--stream", stream], "packed as xz"),
        (["replay", "--input", "-", "-", "--stream", stream], "named 2 times"),
        (["stream", "create", "--stream", stream, "--retention-hours", "0"], "retention"),
        (["stream", "describe", "--stream", stream], "does not exist"),
        (["generate", "--out", place / "out.txt", "--events", "0"], "0 events"),
        (["generate", "--profile", "simple", "--out", place / "out.txt", "--events", "0"], "0 events"),
        (["generate", "--out", place / "out.txt", "--days", "0"], "0 days"),
        (["generate", "--profile", "simple", "--out", place / "out.txt", "--days", "0"], "0 days"),
        (["generate", "--out", place / "out.txt", "--from-day", "273"], "0 to 272"),
        (["generate", "--out", place / "out.txt", "--users", "3"], "between 20"),
        (["generate", "--out", place / "out.txt", "--users-only"], "lanl-58"),
        (["generate", "--profile", "simple", "--out", place / "out.txt", "--red-team"], "has no --red-team"),
        (["demo", *lake, "--events", "0"], "0 events"),
        (["demo", *lake, "--input", missing], "no such file"),
        (["demo", *lake, "--input", tmp_path], "is a directory"),
        (["demo", "--lake", place / "a#b", "--events", "1000"], "misread"),
        (["status", *lake], "no lake"),
        (["verify", *lake], "no lake"),
        (["config", "check", bad, *lake], "tolerance"),
    ]:
        refused(*words, names=[name])
        assert list(place.iterdir()) == [], f"{words} left something behind"


def test_command_lines_that_say_too_much_or_too_little(tmp_path):
    stream = ["--stream", f"local:{tmp_path / 's'}"]
    for words, name in [
        (["backfill", "--lake", tmp_path / "lake"], "--input"),
        (["replay", "--input", EXCERPT, *stream, "--max", "--rate", "5"], "--max"),
        (["replay", "--input", EXCERPT, *stream, "--rate", "0"], "rate|0"),
        (["replay", "--input", EXCERPT, *stream, "--rate", "nan"], "(?i)rate|nan"),
        (["replay", "--input", EXCERPT, *stream, "--batch-size", "0"], "batch"),
        (["replay", "--input", EXCERPT, *stream, "--shards", "0"], "shards"),
        (["generate", "--out", tmp_path / "no" / "where.txt", "--events", "10"], "where.txt"),
        (["consume", *stream, "--lake", tmp_path / "l", "--seal", "--until-caught-up"], "--seal"),
    ]:
        refused(*words, names=[name])
    assert not os.path.exists(tmp_path / "lake")


def test_a_lost_journal_is_noticed_before_anything_is_written(tmp_path):
    """Entries of a new journal would seem to be in the tables already, and their rows would be lost in silence."""
    lake = tmp_path / "lake"
    run("backfill", "--input", EXCERPT, "--lake", lake, "--keep-open")
    for file in lake.glob("journal.db*"):
        file.unlink()
    stream = f"local:{tmp_path / 'stream'}"
    run("stream", "create", "--stream", stream)
    run("tables", "create", "--lake", tmp_path / "empty")
    for words in (["lake .* has lost its journal.db", "restore"], ["tables hold entries of shard file", "restore"]):
        refused("status", "--lake", lake, names=words)
        refused("backfill", "--input", EXCERPT, "--lake", lake, names=words)
        refused("consume", "--stream", stream, "--lake", lake, "--until-caught-up", names=words)
        # A copy of the journal from before its first entry.
        shutil.copy(tmp_path / "empty" / "journal.db", lake / "journal.db")
    assert len(Lake(lake).rows(CURATED)) == 5_000
