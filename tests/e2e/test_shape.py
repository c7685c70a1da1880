"""A lake that gains columns, read by engines that are not ours: rows from before and after, time travel, merging, repair."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from datetime import datetime

import pytest
from pyiceberg.types import StringType

import shape
from authpulse import run
from snippets import SECONDS, snippets
from read_lake import COLUMNS, CURATED, TABLES, Lake


# How many events have an invalid address.
LEFT_OUT = sum(n % 5 == 0 and n % 3 != 0 for n in range(shape.EVENTS, 2 * shape.EVENTS))


def entries(lake):
    with sqlite3.connect(lake / "journal.db") as journal:
        return journal.execute("SELECT shard, n, body FROM entries ORDER BY n").fetchall()


def take_attributes(lake):
    changed = [(shape.taking_attributes(body), shard, n) for shard, n, body in entries(lake)]
    with sqlite3.connect(lake / "journal.db") as journal:
        journal.executemany("UPDATE entries SET body = ? WHERE shard = ? AND n = ?", changed)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("shape")
    (place / "small.toml").write_text(shape.CONFIG)
    shape.write_plain(place / "plain.txt")
    shape.write_attributes(place / "attributes.jsonl")
    return place


def backfill(place, name, *more):
    words = ["--lake", place / "lake", "--config", place / "small.toml", *more]
    return run("backfill", "--input", place / name, *words)


@pytest.fixture(scope="module")
def grown(place):
    """The lake, and its table as it was before the columns came."""
    backfill(place, "plain.txt", "--keep-open")
    lake = Lake(place / "lake")
    before = lake.load(CURATED)
    assert [field.name for field in before.schema().fields] == COLUMNS[CURATED]
    take_attributes(place / "lake")
    # Another engine takes the next id for a column of its own.
    with before.update_schema() as update:
        update.add_column(shape.ANALYST, StringType(), "who looks into it")
    told = backfill(place, "attributes.jsonl")
    # An invalid address is left out: it is counted, and its field named once.
    assert told.count("left out") == LEFT_OUT and told.stderr.count("is not of its form") == 1
    assert "source_ip" in told.stderr
    return lake, before


def by_duckdb(lake):
    return lake.query(f"SELECT * FROM iceberg_scan('{lake.metadata_location(CURATED)}')")


def same_everywhere(lake):
    by_pyiceberg = lake.load(CURATED).scan().to_arrow().to_pylist()
    assert len(by_pyiceberg) == 2 * shape.EVENTS
    assert shape.found(by_pyiceberg) == shape.expected()
    assert shape.found(by_duckdb(lake)) == shape.expected()


def test_columns_come_behind_what_others_added_and_only_where_rows_have_values(grown):
    lake, before = grown
    fields = lake.load(CURATED).schema().fields
    assert [field.name for field in fields[:20]] == COLUMNS[CURATED]
    assert (fields[20].name, fields[20].field_id) == (shape.ANALYST, 22)
    later = {field.name: field.field_id for field in fields[21:]}
    assert set(shape.SOME) <= set(later) and min(later.values()) == 23
    assert all(field.doc and len(field.doc) <= 255 for field in fields[21:])
    for table in TABLES:
        if table != CURATED:
            assert [field.name for field in lake.load(table).schema().fields] == COLUMNS[table]
    same_everywhere(lake)


def test_files_carry_only_what_their_rows_have(grown):
    lake, _ = grown
    names = {}
    for entry in lake.entries():
        for file in entry.get("files", []):
            if file["table"] == CURATED:
                columns = lake.query(f"SELECT name FROM parquet_schema('{lake.directory / file['path']}')")
                names[file["path"]] = {row["name"] for row in columns} & {*shape.SOME, "device", "site"}
                assert names[file["path"]] <= {column["name"] for column in file.get("columns", [])}
    assert any(not some for some in names.values()) and any(some for some in names.values())
    assert not any(some & {"device", "site"} for some in names.values()), "no event carried one"


def test_time_travel_before_the_change(grown):
    lake, before = grown
    table = lake.load(CURATED)
    snapshot = before.current_snapshot().snapshot_id
    rows = table.scan(snapshot_id=snapshot).to_arrow()
    assert rows.column_names == COLUMNS[CURATED] and len(rows) == shape.EVENTS


def test_entries_say_what_they_need(grown, place):
    lake, _ = grown
    assert {entry["format"] for entry in lake.entries()} == {3}
    assert run("status", "--lake", place / "lake").stdout.count("format 3") > 0


def test_the_status_counts_what_was_left_out_of_events(grown, place):
    told = json.loads(run("status", "--lake", place / "lake", "--json").stdout)
    assert [shard["fields_dropped"] for shard in told["shards"]] == [LEFT_OUT]
    text = run("status", "--lake", place / "lake").stdout
    assert f"left out      {LEFT_OUT} attributes without a value of their form" in text


def test_merging_carries_all_columns(grown, place):
    lake, _ = grown
    files = len(lake.load(CURATED).inspect.files())
    run("tables", "maintain", "--lake", place / "lake", "--config", place / "small.toml")
    merged = len(lake.load(CURATED).inspect.files())
    assert merged < files
    same_everywhere(lake)
    run("verify", "--lake", place / "lake")


@pytest.mark.engines
def test_spark_reads_it(grown, place):
    """Through the catalog that docs/query.md opens; also as it was before the change."""
    from jvm import Jdk
    from trino_server import CACHE

    _, before = grown
    opened = re.split(r"^spark\.sql\(", snippets()["Spark"][0], flags=re.MULTILINE)[0]
    table, snapshot = "authpulse.authpulse.auth_events_curated", before.current_snapshot().snapshot_id
    names = ", ".join(("user_id", "computer_id", "event_time", *shape.SOME, shape.ANALYST))
    asked = f"""
import json
for sql in ("SELECT {names} FROM {table}", "SELECT * FROM {table} VERSION AS OF {snapshot}"):
    rows = [row.asDict() for row in spark.sql(sql).collect()]
    print("ROWS", json.dumps(rows, default=str))
"""
    options = f"--conf spark.jars.ivy={CACHE / 'ivy'} --conf spark.ui.enabled=false pyspark-shell"
    environment = {
        **os.environ,
        "PYSPARK_SUBMIT_ARGS": options,
        "JAVA_HOME": str(Jdk().java.parent.parent),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TZ": "UTC",
    }
    done = subprocess.run(
        [sys.executable, "-"],
        input=opened + asked,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=place,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    now, then = (json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("ROWS "))
    for row in now:
        row["event_time"] = datetime.fromisoformat(row["event_time"])
    assert shape.found(now) == shape.expected()
    assert len(then) == shape.EVENTS and list(then[0]) == COLUMNS[CURATED]
