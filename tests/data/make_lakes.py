"""Makes `lakes.tar.xz` and `rows.json` of a set, with the program of the commit of which the set is.

    AUTHPULSE_BIN=PROGRAM python3 tests/data/make_lakes.py shape-before

A lake cannot be moved, so all of it lies at one place, `PLACE`, where tests/e2e/test_lakes_of_before.py puts it again.
`rows.json` holds what that program itself made of each lake when it went on.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from lakes_of_before import SETS, SMALL  # noqa: E402

SET = SETS[sys.argv[1]]
PLACE = SET.place

PROGRAM = os.environ["AUTHPULSE_BIN"]
# Ten years: what is kept here must not expire from the streams.
KEPT = 87_600


def program(*words, code=0, **env):
    done = subprocess.run([PROGRAM, *map(str, words)], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stderr}"


def told(*words):
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=True).stdout


def in_first_half(line):
    user = line.split(",")[1]
    return hashlib.md5(user.encode()).digest()[0] < 128


def with_own_id(n, line):
    time, user, computer = line.split(",")
    if n % 2:
        return line
    return json.dumps({"time": int(time), "user": user, "computer": computer, "event_id": f"id-{n}"})


def history(events):
    """Two shards. The first is ahead of the second by more than a day, so that events are accepted and not scored."""
    noon = 86_400 * 3 // 2
    before = [(n, e) for n, e in enumerate(events) if int(e.split(",")[0]) <= noon]
    after = [(n, e) for n, e in enumerate(events) if int(e.split(",")[0]) > noon]
    first = before + [(n, e) for n, e in after if in_first_half(e)]
    second = [(n, e) for n, e in after if not in_first_half(e)]
    # Of the second shard: one that lies five hours ahead, and waits.
    user = next(e.split(",")[1] for _, e in second)
    ahead = f"{noon + 5 * 3600},{user},C1"
    lines = [with_own_id(n, e) for n, e in first]
    repeated = [with_own_id(n, e) for n, e in before[-4:]]
    write("history-1.txt", [*lines, ahead])
    write("history-2.txt", [*repeated, *(with_own_id(n, e) for n, e in second)])
    stream = ["--stream", f"local:{PLACE / 'history-stream'}"]
    program("stream", "create", *stream, "--shards", 2, "--retention-hours", KEPT)
    program("replay", "--input", PLACE / "history-1.txt", *stream, "--max")
    consume("history", "--until-caught-up")
    if SET.has_bases:
        # Entries that were just folded go at once: nobody else is at work.
        write("tidy.toml", ["[maintain]", "fold_entries = 2", "entry_age = 0"])
        for _ in range(2):
            program("tables", "maintain", "--lake", PLACE / "history", "--config", PLACE / "tidy.toml")
    program("replay", "--input", PLACE / "history-2.txt", *stream, "--max")


def live():
    """One shard, events that are now; one of them from a clock that is 298 s ahead."""
    now = datetime.now(timezone.utc)

    def line(seconds, computer):
        return f"{now + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ},U1,C{computer}"

    stream = ["--stream", f"local:{PLACE / 'live-stream'}"]
    program("stream", "create", *stream, "--shards", 1, "--retention-hours", KEPT)
    write("live-1.txt", [*(line(n - 60, n) for n in range(20)), f"{now + timedelta(seconds=295):%Y-%m-%dT%H:%M:%SZ},U2,C1"])
    write("live-2.txt", [line(n - 35, n) for n in range(30)])
    program("replay", "--input", PLACE / "live-1.txt", *stream, "--max")
    consume("live", "--until-caught-up")
    program("replay", "--input", PLACE / "live-2.txt", *stream, "--max")


def split(events):
    """A shard that was split. It is read to its end, its heirs have begun, and there is more to read."""
    parts = [events[:1200], events[1200:2000], events[2000:]]
    stream = ["--stream", f"local:{PLACE / 'split-stream'}"]
    program("stream", "create", *stream, "--shards", 1, "--retention-hours", KEPT)
    for n, part in enumerate(parts):
        write(f"split-{n}.txt", part)
        program("replay", "--input", PLACE / f"split-{n}.txt", *stream, "--max")
        if n < 2:
            consume("split", "--until-caught-up")
        if n == 0:
            program("stream", "split", *stream, "shardId-000000000000")


def unfinished(events):
    """A backfill that was ended right behind its second entry, in the middle of its file."""
    write("unfinished.txt", events)
    program(*SET.backfill_unfinished(), code=-6, AUTHPULSE_CRASH="entry put after@2")


def empty(events):
    """Sealed, and nothing in it was an event."""
    write("empty.txt", [])
    write("empty-2.txt", events[:100])
    program("backfill", "--input", PLACE / "empty.txt", "--lake", PLACE / "empty")


def write(name, lines):
    (PLACE / name).write_text("".join(line + "\n" for line in lines))


def consume(name, *more):
    stream = f"local:{PLACE / f'{name}-stream'}"
    program("consume", "--stream", stream, "--lake", PLACE / name, "--config", PLACE / "small.toml", *more)


def main():
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    # Folded entries go once there are two snapshots of state behind them.
    small = SMALL.replace("1000", "400") if SET.has_bases else SMALL
    (PLACE / "small.toml").write_text(small)
    simple = ["--profile", "simple"] if "--profile" in told("generate", "--help") else []
    program("generate", *simple, "--out", PLACE / "events.txt", "--events", 6000, "--days", 3, "--attacks", 4)
    events = (PLACE / "events.txt").read_text().split()
    history(events)
    live()
    unfinished(events)
    empty(events)
    if "split" in SET.names:
        split(events)
    (PLACE / "events.txt").unlink()
    with tarfile.open(SET.data / "lakes.tar.xz", "w:xz") as packed:
        packed.add(PLACE, arcname=".")
    SET.continue_all()
    rows = {name: SET.rows_of(name) for name in SET.names}
    (SET.data / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")
    shutil.rmtree(PLACE)


if __name__ == "__main__":
    main()
