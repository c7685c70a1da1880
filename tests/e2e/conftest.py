"""Ends a run with a line in the form of `cargo test`, so that one count covers both."""

import pytest

import logons
from authpulse import PROGRAM, run
from read_lake import Lake


def pytest_configure(config):
    config.addinivalue_line("markers", "engines: needs a JDK and Maven; run by `./test --engines`")


def pytest_sessionstart(session):
    if not PROGRAM.exists():
        pytest.exit(f"there is no program at {PROGRAM}: build it with `cargo build --release`, or run ./test", 3)


@pytest.fixture(scope="session")
def queried(tmp_path_factory):
    """The lake that the queries are asked of: history from a file, then a stream, in several commits; sealed."""
    place = tmp_path_factory.mktemp("queried")
    lines = logons.write(place / "all.txt")
    lake, stream = place / "lake", f"local:{place / 'stream'}"
    parts = [lines[: len(lines) // 2], lines[len(lines) // 2 : -150], lines[-150:]]
    files = [place / f"part{n}.txt" for n in range(3)]
    for file, part in zip(files, parts):
        file.write_bytes(b"\n".join(part) + b"\n")
    run("backfill", "--input", files[0], "--lake", lake, "--keep-open", "--raw")
    run("replay", "--input", files[1], "--stream", stream, "--shards", 2, "--max")
    run("consume", "--stream", stream, "--lake", lake, "--until-caught-up")
    run("replay", "--input", files[2], "--stream", stream, "--max", "--close")
    run("consume", "--stream", stream, "--lake", lake)
    return Lake(lake)


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    passed = len(stats.get("passed", []))
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    skipped = len(stats.get("skipped", []))
    for report in stats.get("skipped", []):
        terminalreporter.write_line(f"NOT RUN: {report.nodeid}: {report.longrepr[2]}")
    verdict = "FAILED" if failed else "ok"
    terminalreporter.write_line(f"test result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored")
