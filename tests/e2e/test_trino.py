"""The queries and views under ddl/ on a real Trino over Glue and S3, which is as near to Athena as a test comes. The
answers must be those of plain Python and of DuckDB. Trino also writes, and must leave alone what is ours."""

import os
import re
import threading
from collections import Counter
from datetime import date, datetime, timedelta

import pytest
import trino

import answers
import nasty
import shape
from authpulse import EXCERPT, run
from answers import Versions, assert_answer, cases, constants, plain
from chaos import BUCKET, Chaos
from emulator import Emulator
from fault_proxy import FaultProxy
from logons import Landing
from queries import QUERIES, VIEWS, DuckDB, parameters, text, with_values
from read_lake import COLUMNS, CURATED, DAILY, HOURLY, REJECTED, TABLES, S3Lake, assert_same, canonical
from snippets import PAGE, check
from trino_server import Trino

pytestmark = pytest.mark.engines

SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
KILLS = max(20, int(os.environ.get("AUTHPULSE_KILLS", "20")))

RAW = "auth_events_raw"
APPLIED = "authpulse.applied"
DATABASE = "authpulse"
# A database of its own for tests that write: they end the versions that the queries travel to.
WRITTEN = "written"


@pytest.fixture(scope="module")
def emulator():
    running = Emulator()
    running.client("s3").create_bucket(Bucket=BUCKET)
    yield running
    running.stop()


def words(database):
    return ["--lake", f"s3://{BUCKET}/{database}", "--catalog", f"glue:{database}"]


def opened(database, emulator):
    return S3Lake(f"s3://{BUCKET}/{database}", database, emulator)


@pytest.fixture(scope="module")
def queried(emulator, tmp_path_factory):
    """The lake of test_queries.py, as the program writes it to S3 and Glue."""
    landing = Landing(tmp_path_factory.mktemp("queried"), words(DATABASE), emulator.env)
    landing.begin()
    landing.end()
    finish(emulator, DATABASE, RAW)
    return opened(DATABASE, emulator)


def finish(emulator, database, name):
    """Gives a table the number of buckets, without which Trino cannot read it. Glue itself answers 0."""
    glue = emulator.client("glue")
    table = glue.get_table(DatabaseName=database, Name=name)["Table"]
    parts = ("Name", "TableType", "Parameters", "PartitionKeys", "ViewOriginalText", "ViewExpandedText")
    kept = {key: table[key] for key in parts if key in table}
    storage = {**table["StorageDescriptor"], "NumberOfBuckets": 0}
    glue.update_table(DatabaseName=database, TableInput={**kept, "StorageDescriptor": storage})


@pytest.fixture(scope="module")
def server(emulator, queried, tmp_path_factory):
    running = Trino(emulator.endpoint, tmp_path_factory.mktemp("trino"))
    running.wait(DATABASE, CURATED)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def views(emulator, server):
    for view in VIEWS:
        server.query(text(view), DATABASE)
        finish(emulator, DATABASE, view)


@pytest.fixture(scope="module")
def versions(queried):
    return Versions(queried.load(CURATED))


@pytest.fixture(scope="module")
def duckdb(queried):
    return DuckDB(queried)


@pytest.fixture
def ask(server, views):
    return lambda sql: server.query(sql, DATABASE)[0]


@pytest.mark.parametrize("name", QUERIES)
def test_the_answer_is_that_of_plain_python_and_of_duckdb(queried, ask, duckdb, versions, name):
    for values in cases(name, queried):
        query = with_values(name, **constants(values, versions))
        rows = ask(query)
        assert_answer(rows, answers.answer(name, queried, versions, values), f"{name} {values}")
        ours, theirs = ([{k: plain(v) for k, v in row.items()} for row in each] for each in (rows, duckdb.query(query)))
        assert_answer(ours, theirs, f"{name} {values}: Trino, and DuckDB")


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
        # On other days than that of the test, nothing arrived. Files of curated are told apart by their arrival.
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
    """A test of the measure itself: a condition that names no partition reads everything."""
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
def written(emulator, server, tmp_path_factory):
    """A lake that is not at its end: Trino writes in between."""
    landing = Landing(tmp_path_factory.mktemp("written"), words(WRITTEN), emulator.env)
    landing.begin()
    return landing


# Values that mark a row as one that nothing here would write.
MARKED = {
    CURATED: ("event_id", "user_id", "computer_id"),
    HOURLY: ("user_id",),
    DAILY: ("computer_id",),
    REJECTED: ("reason",),
}


@pytest.mark.parametrize("table", TABLES)
def test_trino_compacts_writes_and_expires_and_keeps_what_is_ours(emulator, server, written, table):
    lake = opened(WRITTEN, emulator)
    before, applied = canonical(lake.rows(table), set()), lake.load(table).properties[APPLIED]

    def do(statement):
        server.query(statement, WRITTEN)

    def unchanged(step):
        assert_same(canonical(lake.rows(table), set()), before, f"{table} after {step}")
        properties = lake.load(table).properties
        ours = {name: value for name, value in properties.items() if name.startswith("authpulse.")}
        assert ours == {APPLIED: applied}, f"{table} after {step}"

    files = lake.load(table).inspect.files().num_rows
    snapshots = len(lake.load(table).snapshots())

    do(f"ALTER TABLE {table} EXECUTE optimize")
    unchanged("optimize")
    assert lake.load(table).inspect.files().num_rows < files, f"{table}: it had nothing to do"

    mark(server, WRITTEN, table)
    assert lake.load(table).scan(row_filter=marked(table)).count() == 1
    do(f"DELETE FROM {table} WHERE {marked(table)}")
    unchanged("a row that came and went")

    assert len(lake.load(table).snapshots()) > snapshots
    do(f"ALTER TABLE {table} EXECUTE expire_snapshots(retention_threshold => '0s')")
    unchanged("expire_snapshots")
    assert len(lake.load(table).snapshots()) == 1
    assert rows_by_trino(server, WRITTEN, table) == len(before)


def test_we_write_on_after_all_of_this(emulator, queried, server, written):
    """The rest of the stream is stored in tables whose files and snapshots are Trino's."""
    written.end()
    run("verify", *words(WRITTEN), env=emulator.env)
    lake = opened(WRITTEN, emulator)
    for table in TABLES:
        assert_same(lake.comparable(table), queried.comparable(table), f"{table}: with Trino's work in between, and without")
        assert rows_by_trino(server, WRITTEN, table) == len(lake.rows(table))


def mark(server, database, table):
    """Adds a row that nothing here would write: a copy of another one under other names, so that no column is empty."""
    values = ", ".join(f"'marker' AS {c}" if c in MARKED[table] else f'"{c}"' for c in COLUMNS[table])
    columns = ", ".join(f'"{c}"' for c in COLUMNS[table])
    server.query(f"INSERT INTO {table} ({columns}) SELECT {values} FROM {table} LIMIT 1", database)


def marked(table):
    return f"{MARKED[table][0]} = 'marker'"


def rows_by_trino(server, database, table):
    (row,), _ = server.query(f"SELECT count(*) AS n FROM {table}", database)
    return row["n"]


class Compactor(threading.Thread):
    """A Trino that does what an operator would schedule, and more, as often as it can while others commit."""

    # Trino's errors if a commit of ours came first, or has replaced what it read. Its work is undone, and it tries again.
    OVERTAKEN = {"ICEBERG_COMMIT_ERROR", "ICEBERG_INVALID_METADATA", "ICEBERG_CANNOT_OPEN_SPLIT"}

    def __init__(self, server, database):
        super().__init__()
        self.server, self.database = server, database
        self.done, self.overtaken, self.failure = Counter(), Counter(), None
        self._over = threading.Event()

    def run(self):
        try:
            while not self._over.is_set():
                for table in TABLES:
                    # Rows that somebody inserts there are history to a shard that is rebuilt from the table.
                    if table != CURATED:
                        self.do("insert", lambda: mark(self.server, self.database, table))
                    self.do("optimize", lambda: self.execute(table, "optimize"))
                    expire = "expire_snapshots(retention_threshold => '2s')"
                    self.do("expire_snapshots", lambda: self.execute(table, expire))
        except BaseException as failure:
            self.failure = failure

    def execute(self, table, procedure):
        self.server.query(f"ALTER TABLE {table} EXECUTE {procedure}", self.database)

    def do(self, what, work):
        try:
            work()
            self.done[what] += 1
        except trino.exceptions.TrinoQueryError as error:
            if error.error_name not in self.OVERTAKEN:
                raise
            self.overtaken[what] += 1

    def check(self):
        if self.failure:
            raise self.failure

    def stop(self):
        self._over.set()
        self.join()
        self.check()


def test_chaos_while_trino_compacts(tmp_path, emulator, server):
    nasty.write(tmp_path / "nasty.txt", seed=5, users=40, events=600 * KILLS, days=3)
    proxy = FaultProxy(emulator.endpoint, seed=SEED, delays={"s3": 0.005, "glue": 0.02, "dynamodb": 0.002})
    trinos = Compactor(server, "chaos")
    try:
        chaos = Chaos(tmp_path, emulator, proxy, "chaos", tmp_path / "nasty.txt", SEED, trinos.check, trinos.start)
        chaos.run(KILLS, 5, faults=0.01, events_per_second=200)
    finally:
        proxy.stop()
        if trinos.ident:
            trinos.stop()
    print(f"Trino did {dict(trinos.done)} and was overtaken at {dict(trinos.overtaken)}")
    assert all(trinos.done[what] >= 4 for what in ("insert", "optimize", "expire_snapshots"))
    for table in TABLES:
        # Only the rows that it inserted itself may be too many. Single deleted rows stay deleted until files are
        # written anew.
        if table != CURATED:
            server.query(f"DELETE FROM {table} WHERE {marked(table)}", "chaos")
        server.query(f"ALTER TABLE {table} EXECUTE optimize", "chaos")
    lake = chaos.expect_the_rows_of_one_worker()
    for table in TABLES:
        columns = ", ".join(f'"{column}"' for column in COLUMNS[table])
        theirs = [{name: plain(value) for name, value in row.items()} for row in server.query(f"SELECT {columns} FROM {table}", "chaos")[0]]
        ours = [{name: plain(value) for name, value in row.items()} for row in lake.rows(table)]
        assert_same(canonical(ours, set()), canonical(theirs, set()), f"{table}: PyIceberg, and Trino")
    chaos.expect_it_was_chaos(KILLS, 5)


def test_the_snippet_of_the_page(emulator, server, tmp_path):
    """The snippet of docs/query.md, over the lake that it names. Its catalog file is a part of the one here."""
    run("backfill", "--input", EXCERPT, *words("excerpt"), env=emulator.env)
    (properties,) = re.findall(r"^```properties\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    ours = (server.run / "etc" / "catalog" / "iceberg.properties").read_text().splitlines()
    assert set(properties.splitlines()) <= set(ours)
    check("Athena and Trino", tmp_path, TRINO_PORT=str(server.port), TRINO_SCHEMA="excerpt")


def test_a_table_across_the_columns_that_it_gains(emulator, queried, server, tmp_path):
    """Three fields; a column that Trino adds; attributes; merging. Trino reads it through Glue at each step, and travels back."""
    database = "grown"
    (tmp_path / "small.toml").write_text(shape.CONFIG)
    shape.write_plain(tmp_path / "plain.txt")
    shape.write_attributes(tmp_path / "attributes.jsonl")

    def do(*command):
        run(*command, *words(database), "--config", tmp_path / "small.toml", env=emulator.env)

    def ask(sql):
        return server.query(sql, database)[0]

    def found(select):
        return shape.found(ask(f"SELECT * FROM {select}"))

    do("backfill", "--input", tmp_path / "plain.txt", "--keep-open")
    lake = opened(database, emulator)
    version = lake.load(CURATED).current_snapshot().snapshot_id
    s3 = emulator.client("s3")
    for listed in s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{database}/journal/")["Contents"]:
        body = s3.get_object(Bucket=BUCKET, Key=listed["Key"])["Body"].read()
        s3.put_object(Bucket=BUCKET, Key=listed["Key"], Body=shape.taking_attributes(body))
    ask(f"ALTER TABLE {CURATED} ADD COLUMN {shape.ANALYST} varchar")
    finish(emulator, database, CURATED)
    do("backfill", "--input", tmp_path / "attributes.jsonl")
    assert found(CURATED) == shape.expected()
    # Glue's own list: the columns that Trino and we added, each once, in the order in which they were added.
    columns = [column["Name"] for column in lake.glue_table(CURATED)["StorageDescriptor"]["Columns"]]
    assert columns[:21] == [*COLUMNS[CURATED], shape.ANALYST]
    assert columns == [field.name for field in lake.load(CURATED).schema().fields]
    travelled = ask(f"SELECT * FROM {CURATED} FOR VERSION AS OF {version}")
    assert len(travelled) == shape.EVENTS and list(travelled[0]) == COLUMNS[CURATED]

    ask(f"UPDATE {CURATED} SET {shape.ANALYST} = 'seen' WHERE user_id = 'U1' AND {shape.ANALYST} IS NULL")
    ask(f"ALTER TABLE {CURATED} EXECUTE optimize")
    expected = shape.expected()
    for (user, _, _), row in expected.items():
        row[shape.ANALYST] = "seen" if user == "U1" else None
    assert found(CURATED) == expected
    do("tables", "maintain")
    assert found(CURATED) == expected
    assert shape.found(lake.load(CURATED).scan().to_arrow().to_pylist()) == expected
