"""Lakes, streams and unfinished backfills that older programs wrote: tests/data/of-0.1 and tests/data/shape-before."""

import fcntl
import hashlib
import shutil
import tarfile
from contextlib import contextmanager
from pathlib import Path

from authpulse import REPOSITORY, run
from read_lake import TABLES, Lake

# Small entries, so that a short backfill has several.
SMALL = """\
[store]
roll_rows = 500
roll_bytes = 20000
snapshot_rows = 1000
"""


class Before:
    """What one older program wrote."""

    def __init__(self, version, names, entry_format, has_bases):
        self.version, self.names, self.entry_format, self.has_bases = version, names, entry_format, has_bases
        self.data = REPOSITORY / "tests" / "data" / version
        # Tables name their files in full, so a lake works only at the place where it was made.
        self.place = Path(f"/tmp/authpulse-lakes-{version}")

    @contextmanager
    def unpacked(self):
        """Unpacks all of it at its place, for one test at a time."""
        with open(f"{self.place}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir()
            with tarfile.open(self.data / "lakes.tar.xz") as packed:
                packed.extractall(self.place)
            try:
                yield
            finally:
                shutil.rmtree(self.place, ignore_errors=True)

    def backfill_unfinished(self):
        """The run that was cut short, with its raw zone."""
        place = ["--input", self.place / "unfinished.txt", "--lake", self.place / "unfinished"]
        return ["backfill", *place, "--raw", "--config", self.place / "small.toml"]

    def continue_all(self):
        """Goes on with each; returns the outcome of each command."""
        config = ["--config", self.place / "small.toml"]

        def consume(name, *more):
            stream = f"local:{self.place / f'{name}-stream'}"
            return run("consume", "--stream", stream, "--lake", self.place / name, *config, *more)

        empty = ["--input", self.place / "empty-2.txt", "--lake", self.place / "empty"]
        ways = {
            "history": lambda: consume("history", "--seal"),
            "live": lambda: consume("live", "--until-caught-up"),
            "unfinished": lambda: run(*self.backfill_unfinished()),
            "empty": lambda: run("backfill", *empty),
            "split": lambda: consume("split", "--seal"),
        }
        return {name: ways[name]() for name in self.names}

    def rows_of(self, name):
        """For each table: how many rows, and a digest of all that every way into a lake must give alike."""
        lake = Lake(self.place / name)

        def digest(rows):
            return {"rows": len(rows), "sha256": hashlib.sha256(repr(rows).encode()).hexdigest()}

        return {table: digest(lake.comparable(table)) for table in TABLES}

    def lake(self, name):
        return Lake(self.place / name)


SETS = {
    before.version: before
    for before in (
        Before("of-0.1", ("history", "live", "unfinished", "empty"), entry_format=1, has_bases=False),
        Before("shape-before", ("history", "live", "unfinished", "empty", "split"), entry_format=2, has_bases=True),
    )
}
