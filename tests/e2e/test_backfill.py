"""The real excerpt of LANL's data, backfilled and compared with figures taken from the text itself."""

import gzip
import hashlib
from collections import defaultdict
from datetime import datetime, timedelta

import pytest

from authpulse import EXCERPT, refused, run
from read_lake import CURATED, DAILY, HOURLY, REJECTED, Lake

BASE = datetime(2015, 1, 1)


@pytest.fixture(scope="module")
def lines():
    return gzip.decompress(EXCERPT.read_bytes()).decode().splitlines()


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory):
    directory = tmp_path_factory.mktemp("backfill") / "lake"
    result = run("backfill", "--input", EXCERPT, "--lake", directory, "--raw")
    assert (result.count("received"), result.count("curated"), result.count("rejected")) == (5000, 5000, 0), result
    return Lake(directory)


def score(lines):
    """The score of each line, from the contract alone and as simply as possible: the excerpt lies within one day, so no
    day is closed and no host is rare."""
    history = defaultdict(list)
    for line in lines:
        seconds, user, computer = line.split(",")
        seconds = int(seconds)
        before = history[user]
        new_device = all(c != computer for _, c in before)
        before.append((seconds, computer))
        hour = [c for t, c in before if t > seconds - 3600]
        day = [c for t, c in before if t > seconds - 86400]
        burst, lateral = len(hour) > 50, len(set(hour)) >= 10
        flags = [(new_device, "NEW_DEVICE", 30), (burst, "BURST_LOGIN", 25), (lateral, "LATERAL_MOVEMENT", 35)]
        points = sum(weight for fires, _, weight in flags if fires)
        level = "LOW" if points <= 25 else "MEDIUM" if points <= 50 else "HIGH" if points <= 75 else "CRITICAL"
        time = BASE + timedelta(seconds=seconds)
        yield {
            "event_id": hashlib.sha256(line.encode()).hexdigest(),
            "event_time": time,
            "user_id": user,
            "computer_id": computer,
            "login_count_1h": len(hour),
            "login_count_24h": len(day),
            "unique_computers_1h": len(set(hour)),
            "unique_computers_24h": len(set(day)),
            "is_new_device": int(new_device),
            "is_burst_login": int(burst),
            "is_lateral_movement": int(lateral),
            "is_rare_host": 0,
            "risk_flags": [name for fires, name, _ in flags if fires],
            "risk_score": points,
            "risk_level": level,
            "event_date": time.date(),
            "host_popularity": None,
        }


def by_id(rows):
    return sorted(rows, key=lambda row: row["event_id"])


def test_every_curated_row_is_what_the_line_says(backfilled, lines):
    expected = by_id(score(lines))
    rows = by_id(backfilled.rows(CURATED))
    assert len({row["event_id"] for row in rows}) == 5000
    assert [{name: row[name] for name in expected[0]} for row in rows] == expected
    # The excerpt tests little unless rules fire.
    assert {flag for row in rows for flag in row["risk_flags"]} >= {"NEW_DEVICE", "LATERAL_MOVEMENT"}
    assert len({row["rule_set"] for row in rows}) == 1
    assert len({row["ingestion_time"] for row in rows}) == 1, "arrival is the time the run began"
    assert all(row["processing_time"] >= row["ingestion_time"] for row in rows)


def test_hourly_rows_sum_the_events(backfilled, lines):
    hours = defaultdict(list)
    for event in score(lines):
        hours[event["event_time"].replace(minute=0, second=0), event["user_id"]].append(event)
    expected = [
        {
            "window_start": start,
            "window_end": start + timedelta(hours=1),
            "user_id": user,
            "total_logins": len(events),
            "unique_computers": len({e["computer_id"] for e in events}),
            "anomaly_count": sum(e["risk_score"] > 0 for e in events),
            "total_risk_score": sum(e["risk_score"] for e in events),
            "max_risk_score": max(e["risk_score"] for e in events),
        }
        for (start, user), events in sorted(hours.items())
    ]
    rows = backfilled.rows(HOURLY)
    assert sorted(rows, key=lambda row: (row["window_start"], row["user_id"])) == expected


def test_daily_rows_sum_the_events(backfilled, lines):
    days = defaultdict(list)
    for event in score(lines):
        days[event["event_date"], event["computer_id"]].append(event)
    expected = [
        {
            "date": date,
            "computer_id": computer,
            "unique_users": len({e["user_id"] for e in events}),
            "total_logins": len(events),
            "high_risk_events": sum(e["risk_score"] > 50 for e in events),
        }
        for (date, computer), events in sorted(days.items())
    ]
    rows = backfilled.rows(DAILY)
    assert sorted(rows, key=lambda row: (row["date"], row["computer_id"])) == expected


def test_raw_holds_every_line_under_its_number(backfilled, lines):
    raw = backfilled.raw()
    assert [row["payload"].decode() for row in raw] == lines
    assert [int(row["sequence_number"]) for row in raw] == list(range(1, 5001))
    assert backfilled.rows(REJECTED) == []


def test_partitions_are_pruned_by_both_readers(backfilled):
    """A filter on the partition column reads the same rows through metadata as through the data."""
    table = backfilled.catalog.load_table(f"authpulse.{CURATED}")
    assert table.scan(row_filter="event_date = '2015-01-01'").count() == 5000
    assert table.scan(row_filter="event_date = '2015-01-02'").count() == 0
    location = backfilled.metadata_location(CURATED)
    count = "SELECT count(*) AS n FROM iceberg_scan('{}') WHERE event_date = DATE '{}'"
    assert backfilled.query(count.format(location, "2015-01-01")) == [{"n": 5000}]
    assert backfilled.query(count.format(location, "2015-01-02")) == [{"n": 0}]


def test_the_programs_own_audit_agrees(backfilled):
    assert "verified" in run("verify", "--lake", backfilled.directory).stdout


def test_the_same_file_again_is_refused_and_changes_nothing(tmp_path):
    directory = tmp_path / "lake"
    run("backfill", "--input", EXCERPT, "--lake", directory)
    refused("backfill", "--input", EXCERPT, "--lake", directory, names=["auth9mo_head5k", "already"])
    assert len(Lake(directory).rows(CURATED)) == 5000
