"""Lakes, streams and an unfinished backfill that a program of before wrote: tests/data/of-0.1."""

import fcntl
import hashlib
import shutil
import tarfile
from contextlib import contextmanager
from pathlib import Path

from authpulse import REPOSITORY, run
from read_lake import TABLES, Lake

DATA = REPOSITORY / "tests" / "data" / "of-0.1"
# Tables name their files in full, so a lake works at the place alone at which it was made.
PLACE = Path("/tmp/authpulse-lakes-of-0.1")

# Entries of few records, so that a short backfill has several.
SMALL = """\
[store]
roll_rows = 500
roll_bytes = 20000
snapshot_rows = 1000
"""


@contextmanager
def unpacked():
    """All of it, at its place, for one test at a time."""
    with open(PLACE.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shutil.rmtree(PLACE, ignore_errors=True)
        PLACE.mkdir()
        with tarfile.open(DATA / "lakes.tar.xz") as packed:
            packed.extractall(PLACE)
        try:
            yield
        finally:
            shutil.rmtree(PLACE, ignore_errors=True)


def backfill_unfinished():
    """The run that was ended, raw zone and all."""
    place = ["--input", PLACE / "unfinished.txt", "--lake", PLACE / "unfinished"]
    return ["backfill", *place, "--raw", "--config", PLACE / "small.toml"]


def continue_all():
    """Goes on with each; answers what each command left behind."""
    config = ["--config", PLACE / "small.toml"]

    def consume(name, *more):
        stream = f"local:{PLACE / f'{name}-stream'}"
        return run("consume", "--stream", stream, "--lake", PLACE / name, *config, *more)

    return {
        "history": consume("history", "--seal"),
        "live": consume("live", "--until-caught-up"),
        "unfinished": run(*backfill_unfinished()),
        "empty": run("backfill", "--input", PLACE / "empty-2.txt", "--lake", PLACE / "empty"),
    }


def rows_of(name):
    """Of each table: how many rows, and a digest of all that every way into a lake must give alike."""
    lake = Lake(PLACE / name)

    def digest(rows):
        return {"rows": len(rows), "sha256": hashlib.sha256(repr(rows).encode()).hexdigest()}

    return {table: digest(lake.comparable(table)) for table in TABLES}
