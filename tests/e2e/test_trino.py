"""The queries and views under ddl/ on a real Trino over Glue and S3: as near to Athena as a test comes. Their answers
are those of plain Python and of DuckDB. Trino also writes, and leaves alone what is ours."""

import re
from datetime import date, datetime, timedelta

import pytest

import answers
from authpulse import EXCERPT, run
from answers import Versions, assert_answer, cases, constants, plain
from glue_lake import DATABASE, GlueEmulator, finish_view, put_lake
from queries import QUERIES, VIEWS, DuckDB, parameters, text, with_values
from read_lake import CURATED, DAILY, HOURLY, REJECTED, TABLES, Lake, assert_same, canonical
from snippets import PAGE, check
from trino_server import Trino

pytestmark = pytest.mark.engines

RAW = "auth_events_raw"
APPLIED = "authpulse.applied"
# A database of its own for what writes: it ends the versions that the queries travel to.
WRITTEN = "written"


@pytest.fixture(scope="module")
def emulator():
    running = GlueEmulator()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def catalog(emulator, queried):
    return put_lake(queried, emulator)


@pytest.fixture(scope="module")
def server(emulator, catalog, tmp_path_factory):
    running = Trino(emulator.url, tmp_path_factory.mktemp("trino"))
    running.wait(DATABASE, CURATED)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def views(emulator, server):
    for view in VIEWS:
        server.query(text(view), DATABASE)
        finish_view(emulator, DATABASE, view)


@pytest.fixture(scope="module")
def versions(catalog):
    return Versions(catalog.load_table(f"{DATABASE}.{CURATED}"))


@pytest.fixture(scope="module")
def duckdb(queried):
    return DuckDB(queried)


@pytest.fixture(scope="module")
def local_versions(queried):
    return Versions(queried.catalog.load_table(f"authpulse.{CURATED}"))


@pytest.fixture
def ask(server, views):
    return lambda sql: server.query(sql, DATABASE)[0]


def alike(rows):
    """Rows without what two lakes of the same rows need not share: ids, times and files of commits."""
    own = {"snapshot_id", "parent_id", "committed_at", "added_files"}
    return [{name: plain(value) for name, value in row.items() if name not in own} for row in rows]


@pytest.mark.parametrize("name", QUERIES)
def test_the_answer_is_that_of_plain_python_and_of_duckdb(queried, ask, duckdb, versions, local_versions, name):
    for values in cases(name, queried):
        rows = ask(with_values(name, **constants(values, versions)))
        assert_answer(rows, answers.answer(name, queried, versions, values), f"{name} {values}")
        theirs = duckdb.query(with_values(name, **constants(values, local_versions)))
        assert_answer(alike(rows), alike(theirs), f"{name} {values}: Trino, and DuckDB")


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_those_of_duckdb(ask, duckdb, view):
    ours, theirs = (canonical(engine(f"SELECT * FROM {view}"), set()) for engine in (ask, duckdb.query))
    assert_same(ours, theirs, f"{view}: Trino, and DuckDB")


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_runs_as_it_stands(ask, versions, name):
    ids = {word: versions.id(number) for number, word in enumerate(("before", "after")) if word in parameters(name)}
    ask(with_values(name, **ids))


def read_rows(server, query):
    """How many rows a query reads from the files of each table, from each of its scans."""
    plan = server.query(f"EXPLAIN ANALYZE {query}", DATABASE)[0][0]["Query Plan"]
    scans = re.findall(r"Scan\w*\[table = \w+:%s[.:](\w+).*?Input: (\d+) rows" % DATABASE, plan, re.DOTALL)
    found = {}
    for table, rows in scans:
        found.setdefault(table, []).append(int(rows))
    return found


def rows_of_days(queried, table, column, first, last):
    return sum(first <= row[column] < last for row in queried.rows(table))


def test_queries_read_only_the_partitions_that_they_name(queried, server, views, versions):
    """The constants reach the scans, through views as well: no scan reads a row of another day (or month)."""

    def days(first, last):
        return rows_of_days(queried, CURATED, "event_date", first, last + timedelta(days=1))

    def hours(first, last):
        return rows_of_days(queried, HOURLY, "window_start", first, last)

    day, week = date(2015, 1, 20), timedelta(days=7)
    noon, midnight = datetime(2015, 1, 20, 12), datetime(2015, 1, 20)
    january = rows_of_days(queried, DAILY, "date", date(2015, 1, 1), date(2015, 2, 1))
    travel = {"from_day": day, "to_day": day, "before": versions.id(0), "after": versions.id(2)}
    before = sum(row["event_date"] == day for row in versions.rows(0))
    bounds = {
        "high_risk_last_hour": ({"as_of": noon}, {CURATED: [days(day, day)]}),
        "user_timeline": ({"from_day": day, "to_day": day}, {CURATED: [days(day, day)]}),
        "first_time_devices": ({"from_day": day, "to_day": day}, {CURATED: [days(day, day)] * 2, DAILY: [january]}),
        "lateral_movement": (
            {"from_day": day, "to_day": day},
            {CURATED: [days(day, day), days(day - timedelta(days=1), day)]},
        ),
        "rare_hosts": ({"last_day": day, "lookback_days": 10}, {DAILY: [january]}),
        "hourly_against_baseline": (
            {"from_day": day, "to_day": day, "weeks": 2},
            {HOURLY: [hours(midnight, midnight + week / 7), hours(midnight - 2 * week, midnight + week / 7)]},
        ),
        "freshness": ({"as_of": noon, "hours": 10}, {CURATED: [days(day, day)]}),
        "completeness": (
            {"from_hour": midnight, "to_hour": midnight + week},
            {HOURLY: [hours(midnight, midnight + week)]},
        ),
        "before_and_after_commit": (travel, {CURATED: [before, days(day, day)]}),
        "rows_of_commit": (travel, {CURATED: [before, days(day, day)]}),
        # On another day than that of the test nothing arrived. Files of curated are told apart by their arrival.
        "audit": ({"from_day": day, "to_day": day}, {}),
    }
    assert set(bounds) == set(QUERIES) - {"commits"}
    for name, (values, allowed) in bounds.items():
        read = read_rows(server, with_values(name, **values))
        read = {table: sorted(rows) for table, rows in read.items() if any(rows)}
        allowed = {table: sorted(rows) for table, rows in allowed.items()}
        assert read.keys() == allowed.keys(), f"{name} reads {read}, and should {allowed}"
        for table, rows in read.items():
            within = len(rows) == len(allowed[table]) and all(a <= b for a, b in zip(rows, allowed[table]))
            assert within, f"{name} reads {read}, not {allowed}"
            assert max(rows) < len(queried.rows(table)), f"{name} reads all of {table}"


def test_a_whole_table_would_be_noticed(queried, server, views):
    """The measure itself: a condition that names no partition reads everything."""
    assert read_rows(server, "SELECT user_id FROM auth_events_curated") == {CURATED: [len(queried.rows(CURATED))]}
    assert read_rows(server, "SELECT payload FROM auth_events_raw") == {RAW: [len(queried.raw())]}


def test_raw_is_read_by_the_projection_of_its_statement(queried, ask):
    columns = "shard_id, sequence_number, sub_sequence_number, payload, ingestion_time, ingest_date"
    rows = ask(f"SELECT {columns} FROM auth_events_raw")
    ours = [{**row, "payload": bytes(row["payload"])} for row in rows]
    theirs = [{name: row[name] for name in ours[0]} for row in queried.raw()]
    for row in theirs:
        row["ingest_date"] = str(row["ingest_date"])
    assert_same(canonical(ours, set()), canonical(theirs, set()), "raw: Trino, and DuckDB")


@pytest.fixture(scope="module")
def written(emulator, queried, server):
    return put_lake(queried, emulator, WRITTEN)


MARKERS = {
    CURATED: ("event_id, user_id, event_date, risk_flags", "'marker', 'U1', DATE '2015-01-20', ARRAY['NEW_DEVICE']"),
    HOURLY: ("user_id, window_start", "'marker', TIMESTAMP '2015-01-20 10:00:00'"),
    DAILY: ('computer_id, "date"', "'marker', DATE '2015-01-20'"),
    REJECTED: ("reason, ingest_date", "'marker', DATE '2015-01-20'"),
}


@pytest.mark.parametrize("table", TABLES)
def test_trino_compacts_writes_and_expires_and_keeps_what_is_ours(queried, server, written, table):
    def load():
        return written.load_table(f"{WRITTEN}.{table}")

    def do(statement):
        server.query(statement, WRITTEN)

    def unchanged(step):
        now = load()
        rows = canonical(now.scan().to_arrow().to_pylist(), set())
        assert_same(rows, canonical(queried.rows(table), set()), f"{table} after {step}")
        ours = {name: value for name, value in now.properties.items() if name.startswith("authpulse.")}
        assert ours == {APPLIED: applied}, f"{table} after {step}"

    applied = queried.catalog.load_table(f"authpulse.{table}").properties[APPLIED]
    files = load().inspect.files().num_rows
    snapshots = len(load().snapshots())
    unchanged("the loading")

    do(f"ALTER TABLE {table} EXECUTE optimize")
    unchanged("optimize")
    assert load().inspect.files().num_rows < files, f"{table}: it had nothing to do"

    columns, values = MARKERS[table]
    marked = f"{columns.split(',')[0]} = 'marker'"
    do(f"INSERT INTO {table} ({columns}) VALUES ({values})")
    assert load().scan(row_filter=marked).count() == 1
    do(f"DELETE FROM {table} WHERE {marked}")
    unchanged("a row that came and went")

    assert len(load().snapshots()) > snapshots
    do(f"ALTER TABLE {table} EXECUTE expire_snapshots(retention_threshold => '0s')")
    unchanged("expire_snapshots")
    assert len(load().snapshots()) == 1
    (rows,), _ = server.query(f"SELECT count(*) AS n FROM {table}", WRITTEN)
    assert rows["n"] == len(queried.rows(table))

    # And we write on: an append after all of this is one more commit on the same table.
    extra = load().scan(limit=1).to_arrow()
    load().append(extra)
    (rows,), _ = server.query(f"SELECT count(*) AS n FROM {table}", WRITTEN)
    assert rows["n"] == len(queried.rows(table)) + 1


def test_the_snippet_of_the_page(emulator, server, tmp_path):
    """docs/query.md, over the lake that it names; the catalog file there is part of the one here."""
    run("backfill", "--input", EXCERPT, "--lake", tmp_path / "lake")
    (properties,) = re.findall(r"^```properties\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    ours = (server.run / "etc" / "catalog" / "iceberg.properties").read_text().splitlines()
    assert set(properties.splitlines()) <= set(ours)
    put_lake(Lake(tmp_path / "lake"), emulator, "excerpt")
    check("Athena and Trino", tmp_path, TRINO_PORT=str(server.port), TRINO_SCHEMA="excerpt")
