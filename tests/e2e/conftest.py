"""Ends a run with a line in the form of `cargo test`, so that one count covers both."""

import pytest

import logons
from authpulse import PROGRAM
from emulator import Emulator, NodeKinesis
from read_lake import Lake


def pytest_configure(config):
    config.addinivalue_line("markers", "engines: needs a JDK and Maven; run by `./test --engines`")


def pytest_sessionstart(session):
    if not PROGRAM.exists():
        pytest.exit(f"there is no program at {PROGRAM}: build it with `cargo build --release`, or run ./test", 3)


@pytest.fixture(scope="session")
def queried(tmp_path_factory):
    """The lake that the queries read: history from a file, then a stream, in several commits; sealed."""
    place = tmp_path_factory.mktemp("queried")
    landing = logons.Landing(place, ["--lake", place / "lake"])
    landing.begin()
    landing.end()
    return Lake(place / "lake")


@pytest.fixture(scope="module")
def emulator():
    emulator = Emulator()
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def kinesis_local(emulator):
    """A Kinesis that splits and merges."""
    kinesis = NodeKinesis("kinesis-local", emulator)
    yield kinesis
    kinesis.stop()


def pytest_terminal_summary(terminalreporter):
    stats = terminalreporter.stats
    passed = len(stats.get("passed", []))
    failed = len(stats.get("failed", [])) + len(stats.get("error", []))
    skipped = len(stats.get("skipped", []))
    for report in stats.get("skipped", []):
        terminalreporter.write_line(f"NOT RUN: {report.nodeid}: {report.longrepr[2]}")
    verdict = "FAILED" if failed else "ok"
    terminalreporter.write_line(f"test result: {verdict}. {passed} passed; {failed} failed; {skipped} ignored")
