"""Input for the queries: five weeks of `nasty` traffic, so that hours of the week recur, and a night after it with what
the days lack: a walk and a burst across midnight, times with microseconds, a computer that is new to everybody."""

from datetime import timedelta

import nasty
from authpulse import run

DAYS = 36
NIGHT = nasty.BASE + timedelta(days=DAYS, hours=22)


def write(path):
    """Writes the file; returns its lines."""
    nasty.write(path, seed=11, users=30, days=DAYS, events=6000)
    lines = path.read_bytes().split(b"\n") + [line.encode() for line in night()]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return lines


class Landing:
    """Takes these logons into a lake: history from a file, then a stream of two shards, in several commits; then sealed."""

    def __init__(self, place, words, env=None):
        lines = write(place / "all.txt")
        parts = [lines[: len(lines) // 2], lines[len(lines) // 2 : -150], lines[-150:]]
        self._files = [place / f"part{n}.txt" for n in range(3)]
        for file, part in zip(self._files, parts):
            file.write_bytes(b"\n".join(part) + b"\n")
        self._stream, self._words, self._env = ["--stream", f"local:{place / 'stream'}"], words, env

    def begin(self):
        run("backfill", "--input", self._files[0], *self._words, "--keep-open", "--raw", env=self._env)
        run("replay", "--input", self._files[1], *self._stream, "--shards", 2, "--max")
        run("consume", *self._stream, *self._words, "--until-caught-up", env=self._env)

    def end(self):
        run("replay", "--input", self._files[2], *self._stream, "--max", "--close")
        run("consume", *self._stream, *self._words, env=self._env)


def night():
    """Lines in order of time."""

    def at(user, computer, **after):
        return NIGHT + timedelta(**after), user, computer

    # Each user once, so that each shard accepts the hour.
    events = [at(f"U{n}", "C1", seconds=10 * n) for n in range(24)]
    # 1.2 s apart, with two boundaries of a second between them.
    events += [at("U5", "C2", seconds=600, microseconds=900_000), at("U5", "C3", seconds=602, microseconds=100_000)]
    events += [at("U7", "C2", minutes=40)]  # too early for the hour of the walk
    events += [at("U7", f"C{10 + n}", minutes=100 + 3 * n) for n in range(14)]
    events += [at("U8", "C4", minutes=110, seconds=11 * n) for n in range(70)]
    # The last hour of the night.
    events += [at("U9", "N1", minutes=150), at("U9", "N1", minutes=151), at("U10", "N1", minutes=152)]
    events += [at(f"U{n}", f"C{n}", minutes=170) for n in range(5)]
    for time, user, computer in sorted(events):
        yield f"{time:%Y-%m-%dT%H:%M:%S.%f}Z,{user},{computer}"
