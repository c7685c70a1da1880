"""Files as they come: in the shell's order, cut off, followed by the zeros of a tape, given up."""

import gzip

import pytest

from authpulse import EXCERPT, refused, run
from read_lake import CURATED, REJECTED, TABLES, Lake, assert_same
from test_bad_input import mounted

TAPE = bytes(100_000)


def hour(n, events=400):
    return "".join(f"{3600 * n + 1 + 8 * i},U{i % 37},C{i % 11}\n" for i in range(events)).encode()


def write_hours(directory, hours):
    directory.mkdir()
    for n in hours:
        (directory / f"d{n}.log").write_bytes(hour(n))
    # In the shell's order: d1 d10 d11 d2.
    return sorted(directory.iterdir())


def test_files_in_the_shells_order(tmp_path):
    named = write_hours(tmp_path / "in", [1, 2, 10, 11])
    lake = tmp_path / "lake"
    refused("backfill", "--input", *named, "--lake", lake, names=["d2.log begins at", "d11.log", "--sort"])
    assert not lake.exists(), "a refused command makes no lake"
    named[-1].write_bytes(named[-1].read_bytes() + b"no event\n")
    result = run("backfill", "--input", *named, "--lake", lake, "--sort")
    assert (result.count("received"), result.count("curated"), result.count("late")) == (1601, 1600, 0), result
    in_order = [tmp_path / "in" / f"d{n}.log" for n in (1, 2, 10, 11)]
    run("backfill", "--input", *in_order, "--lake", tmp_path / "in_order")
    for table in TABLES:
        if table != REJECTED:
            assert_same(Lake(tmp_path / "in_order").comparable(table), Lake(lake).comparable(table), table)
    (letter,) = Lake(lake).rows(REJECTED)
    assert letter["sequence_number"] == "1" and letter["detail"].endswith(f"(line 401 of {named[-1]})"), letter
    assert [path.name for path in lake.iterdir() if "sort" in path.name or path.name.startswith(".tmp")] == []
    run("verify", "--lake", lake)


@pytest.mark.parametrize("packed", [True, False], ids=["gzip", "plain"])
def test_the_zeros_of_a_tape_are_the_end(tmp_path, packed):
    content = gzip.compress(hour(1)) if packed else hour(1)
    (tmp_path / "events").write_bytes(content + TAPE)
    result = run("backfill", "--input", tmp_path / "events", "--lake", tmp_path / "lake")
    assert (result.count("received"), result.count("rejected")) == (400, 0), result


@pytest.fixture
def cut_off(tmp_path):
    """A lake with a part of a file that is cut off, and the whole file."""
    text = b"".join(hour(n) for n in range(1, 40))
    parts = [gzip.compress(text[at : at + 100_000], 1) for at in range(0, len(text), 100_000)]
    damaged = b"".join(parts)[:-20]
    # An entry is stored before the end is found to be missing.
    (tmp_path / "small.toml").write_text("[store]\nroll_bytes = 1024\n")
    (tmp_path / "events.gz").write_bytes(damaged)
    words = ["--lake", tmp_path / "lake", "--config", tmp_path / "small.toml", "--raw"]
    refused("backfill", "--input", tmp_path / "events.gz", *words, names=["events.gz", "cut off"])
    assert "not finished" in run("status", "--lake", tmp_path / "lake").stdout
    return tmp_path, text, words


def test_a_mended_file_continues(cut_off):
    tmp_path, text, words = cut_off
    (tmp_path / "other.gz").write_bytes(gzip.compress(text.replace(b",C1\n", b",C2\n")))
    refused("backfill", "--input", tmp_path / "other.gz", *words, names=["do not begin with", "--give-up"])
    (tmp_path / "events.gz").write_bytes(gzip.compress(text))
    result = run("backfill", "--input", tmp_path / "events.gz", *words)
    assert "continuing" in result.stderr and result.count("curated") == 39 * 400, result
    run("verify", "--lake", tmp_path / "lake")


def test_a_run_is_given_up(cut_off):
    tmp_path, _, words = cut_off
    lake = ["--lake", tmp_path / "lake"]
    stream = f"local:{tmp_path / 'stream'}"
    (tmp_path / "later.txt").write_bytes(hour(500))
    run("replay", "--input", tmp_path / "later.txt", "--stream", stream, "--max", "--close")
    refused("consume", "--stream", stream, *lake, names=["not finished", "--give-up"])
    result = run("backfill", "--give-up", *lake)
    stored = result.count("curated")
    assert 0 < stored < 39 * 400 and "given up after line" in result.stdout, result
    assert "sealed" not in result.stdout.split("given up")[0], result
    assert "given up" in run("status", *lake).stdout
    assert "given up" in run("verify", *lake).stdout
    assert "given up" in run("backfill", "--give-up", *lake).stdout
    refused("backfill", "--input", tmp_path / "events.gz", *words, names=["given up", "another lake"])
    run("consume", "--stream", stream, *lake)
    assert len(Lake(tmp_path / "lake").rows(CURATED)) == stored + 400
    run("verify", *lake)


def test_there_is_nothing_to_give_up(tmp_path):
    refused("backfill", "--give-up", "--lake", tmp_path / "lake", names=["no lake"])
    assert not (tmp_path / "lake").exists()
    (tmp_path / "events.txt").write_bytes(hour(1))
    run("backfill", "--input", tmp_path / "events.txt", "--lake", tmp_path / "lake")
    refused("backfill", "--give-up", "--lake", tmp_path / "lake", names=["events.txt is finished", "nothing to give up"])
    refused("backfill", "--lake", tmp_path / "lake", names=["--input"])


def test_a_sort_without_room(tmp_path):
    """The error names the place of the temporary files, and the lake is unharmed."""
    text = gzip.decompress(EXCERPT.read_bytes())
    (tmp_path / "events.txt").write_bytes(text)
    words = ["backfill", "--input", tmp_path / "events.txt", "--lake", tmp_path / "lake", "--sort"]
    refused(*words, "--sort-dir", tmp_path / "nowhere", names=["nowhere' cannot be made", "--sort-dir"])
    assert not (tmp_path / "lake").exists()
    with mounted(tmp_path / "small", "size=16k") as place:
        refused(*words, "--sort-dir", place, names=["small' cannot be written", "No space left", "free some"])
        assert list(place.iterdir()) == []
    result = run(*words)
    assert result.count("curated") == 5000, result


def test_a_replay_warns_of_files_in_no_order(tmp_path):
    named = write_hours(tmp_path / "in", [1, 10, 2])
    result = run("replay", "--input", *named, "--stream", f"local:{tmp_path / 'stream'}", "--max")
    assert "d2.log begins at" in result.stderr and "would be late" in result.stderr, result
