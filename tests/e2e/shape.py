"""A lake that gains columns: events of three fields, a column that another engine adds, then events with attributes."""

import json
from datetime import datetime

import zstandard
from read_lake import changed_entry

CONFIG = "[store]\nroll_rows = 40\ngather_below = 0\n[maintain]\nmin_files = 2\n"
# Second 0 of times that are numbers.
BASE = datetime(2015, 1, 1)
# Events of a run, and seconds between them: a run lies within one day.
EVENTS, STEP = 200, 60
# The columns of our attributes; the other engine's column is `analyst`.
SOME = ("activity", "outcome", "failure_reason", "source_ip", "auth_method", "is_mfa", "source_country", "source_lat")
ANALYST = "analyst"


def fields(n):
    return {"time": (n + 1) * STEP, "user": f"U{n % 7}", "computer": f"C{n % 11}"}


def attributes(n):
    """What an event carries, by key, and what its row gets of it, by column; every third event carries nothing."""
    if n % 3 == 0:
        return {}, {}
    sent = {"outcome": "failure" if n % 2 else "success", "source_ip": f"10.0.{n % 5}.{n % 250}", "mfa": n % 4 == 1}
    kept = {"outcome": sent["outcome"], "source_ip": sent["source_ip"], "is_mfa": int(sent["mfa"])}
    if n % 2:
        sent |= {"reason": "bad_password", "country": "CH", "lat": 47.37}
        kept |= {"failure_reason": "bad_password", "source_country": "CH", "source_lat": 47.37}
    if n % 5 == 0:
        # An invalid address: that attribute is null, and the others stay.
        sent["source_ip"], kept["source_ip"] = "somewhere", None
    return sent, kept


def write_plain(path):
    path.write_text("".join("{time},{user},{computer}\n".format(**fields(n)) for n in range(EVENTS)))


def write_attributes(path):
    events = (fields(n) | attributes(n)[0] for n in range(EVENTS, 2 * EVENTS))
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def taking_attributes(body):
    """An entry of a lake whose events have attributes: no command makes one yet."""
    entry = json.loads(zstandard.ZstdDecompressor().decompress(body))
    return changed_entry(body, format=3, time_rules=entry["time_rules"] | {"event_model": 2})


def expected():
    """The later columns of each row, by (user, computer, seconds)."""
    rows = {}
    for n in range(2 * EVENTS):
        event = fields(n)
        kept = attributes(n)[1] if n >= EVENTS else {}
        rows[event["user"], event["computer"], event["time"]] = {c: kept.get(c) for c in SOME} | {ANALYST: None}
    return rows


def found(rows):
    """The same, from what a reader found."""
    seconds = lambda time: round((time.replace(tzinfo=None) - BASE).total_seconds())
    names = (*SOME, ANALYST)
    return {(r["user_id"], r["computer_id"], seconds(r["event_time"])): {c: r[c] for c in names} for r in rows}
