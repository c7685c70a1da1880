"""Reads lakes with engines that are not ours: PyIceberg and DuckDB, which must agree on every row."""

import importlib
import json
import sqlite3
from pathlib import Path

import duckdb
import zstandard
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.catalog.sql import SqlCatalog

CURATED, HOURLY, DAILY, REJECTED = (
    "auth_events_curated",
    "user_behavior_hourly",
    "host_popularity_daily",
    "auth_events_rejected",
)
TABLES = (CURATED, HOURLY, DAILY, REJECTED)

COLUMNS = {
    CURATED: (
        "event_id event_time user_id computer_id ingestion_time login_count_1h login_count_24h unique_computers_1h "
        "unique_computers_24h is_new_device is_burst_login is_lateral_movement is_rare_host risk_flags risk_score "
        "risk_level processing_time event_date host_popularity rule_set"
    ).split(),
    HOURLY: (
        "window_start window_end user_id total_logins unique_computers anomaly_count total_risk_score max_risk_score"
    ).split(),
    DAILY: "date computer_id unique_users total_logins high_risk_events".split(),
    REJECTED: (
        "reason detail payload payload_bytes shard_id sequence_number sub_sequence_number ingestion_time "
        "processing_time ingest_date"
    ).split(),
}

# What may differ between two ways to the same rows (see docs/semantics.md).
UNCOMPARED = {
    "ingestion_time",
    "processing_time",
    "ingest_date",
    "shard_id",
    "sequence_number",
    "sub_sequence_number",
    "detail",
}
PAYLOAD = {"payload", "payload_bytes"}


def changed_entry(body, **fields):
    """A stored entry of a journal, with some fields changed."""
    entry = json.loads(zstandard.ZstdDecompressor().decompress(body)) | fields
    return zstandard.ZstdCompressor().compress(json.dumps(entry).encode())


def extension(name):
    """The file of a DuckDB extension in its package, since INSTALL would need a network."""
    package = importlib.import_module(f"duckdb_extension_{name}")
    (file,) = Path(package.__file__).parent.rglob(f"{name}.duckdb_extension")
    return file


def connect_duckdb(more=()):
    """DuckDB that can read Iceberg and fetches nothing."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    for name in ("avro", "iceberg", *more):
        connection.execute(f"LOAD '{extension(name)}'")
    return connection


class Lake:
    """A lake in a directory."""

    def __init__(self, directory):
        self.directory = Path(directory).resolve()
        self._duckdb = connect_duckdb()
        self._rows = {}
        self.catalog = SqlCatalog(
            "authpulse",
            uri=f"sqlite:///{self.directory}/catalog.db",
            warehouse=f"file://{self.directory}/warehouse",
        )

    def connect(self):
        """A DuckDB that can read the lake's files."""
        return connect_duckdb()

    def load(self, table):
        """The table, as PyIceberg opens it."""
        return self.catalog.load_table(f"authpulse.{table}")

    def raw_files(self):
        """The pattern of the raw zone's files."""
        return f"{self.directory}/raw/*/*.parquet"

    def metadata_location(self, table):
        """The current metadata file, out of the catalog's own table."""
        with sqlite3.connect(self.directory / "catalog.db") as catalog:
            query = "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = 'authpulse' AND table_name = ?"
            (location,) = catalog.execute(query, [table]).fetchone()
        return location

    def by_pyiceberg(self, table, loaded=None):
        """All rows, as dictionaries; of a loaded table, if one is given."""
        arrow = (loaded or self.load(table)).scan().to_arrow()
        assert arrow.column_names == COLUMNS[table], f"columns of {table}"
        return arrow.to_pylist()

    def query(self, sql, **parameters):
        """DuckDB's answer, as dictionaries."""
        answer = self._duckdb.execute(sql, parameters or None)
        names = [column[0] for column in answer.description]
        return [dict(zip(names, row)) for row in answer.fetchall()]

    def by_duckdb(self, table, location=None):
        """All rows, as dictionaries; by a metadata file, if one is given."""
        columns = ", ".join(f'"{c}"' for c in COLUMNS[table])
        return self.query(f"SELECT {columns} FROM iceberg_scan('{location or self.metadata_location(table)}')")

    def rows(self, table):
        """All rows, on which both readers must agree; read again only if the table has changed."""
        if self._rows.get(table, (None,))[0] != self.metadata_location(table):
            # Both read one version: a service may commit in between.
            loaded = self.load(table)
            location = loaded.metadata_location
            ours, theirs = self.by_pyiceberg(table, loaded), self.by_duckdb(table, location)
            difference = first_difference(canonical(ours, set()), canonical(theirs, set()))
            assert difference is None, f"PyIceberg and DuckDB disagree on {table}: {difference}"
            self._rows[table] = location, ours
        return self._rows[table][1]

    def comparable(self, table, payload=True):
        """The columns that every way into a lake must give alike, as sorted tuples."""
        return canonical(self.rows(table), UNCOMPARED if payload else UNCOMPARED | PAYLOAD)

    def entries(self):
        """The entries of all journals, as JSON."""
        with sqlite3.connect(self.directory / "journal.db") as journal:
            bodies = journal.execute("SELECT body FROM entries ORDER BY shard, n").fetchall()
        return [self._entry(body) for (body,) in bodies]

    @staticmethod
    def _entry(body):
        return json.loads(zstandard.ZstdDecompressor().decompressobj().decompress(body))

    def raw(self):
        """All records as received, in order of position."""
        if not list(self.directory.glob("raw/*/*.parquet")):
            return []
        return self._raw()

    def _raw(self):
        rows = self.query(f"SELECT * FROM read_parquet('{self.raw_files()}', hive_partitioning = true)")
        return sorted(rows, key=lambda r: (r["shard_id"], int(r["sequence_number"]), r["sub_sequence_number"]))


class S3Lake(Lake):
    """A lake on S3, its tables in Glue."""

    def __init__(self, uri, database, emulator):
        self.uri, self.database, self.emulator = uri, database, emulator
        self._rows = {}
        self._duckdb = self.connect()
        access = {"access-key-id": emulator.KEY, "secret-access-key": emulator.KEY, "region": emulator.REGION}
        properties = {f"{part}.{key}": value for part in ("glue", "s3") for key, value in access.items()}
        endpoints = {"glue.endpoint": emulator.endpoint, "s3.endpoint": emulator.endpoint}
        self.catalog = GlueCatalog("glue", **properties, **endpoints)

    def connect(self):
        connection = connect_duckdb(["httpfs"])
        key, region, port = self.emulator.KEY, self.emulator.REGION, self.emulator.port
        connection.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{key}', REGION '{region}', "
            f"ENDPOINT '127.0.0.1:{port}', URL_STYLE 'path', USE_SSL false)"
        )
        return connection

    def load(self, table):
        return self.catalog.load_table(f"{self.database}.{table}")

    def raw_files(self):
        return f"{self.glue_table('auth_events_raw')['StorageDescriptor']['Location']}*/*.parquet"

    def glue_table(self, table):
        """The table as Glue has it."""
        return self.emulator.client("glue").get_table(DatabaseName=self.database, Name=table)["Table"]

    def metadata_location(self, table):
        return self.glue_table(table)["Parameters"]["metadata_location"]

    def entries(self):
        bucket, prefix = self.uri.removeprefix("s3://").split("/", 1)
        s3 = self.emulator.client("s3")
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/journal/")
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        return [self._entry(s3.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys]

    def raw(self):
        return self._raw()


def canonical(rows, without):
    """Rows as sorted tuples of (column, value), lists as tuples."""
    tuples = [
        tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in row.items() if name not in without)
        for row in rows
    ]
    return sorted(tuples, key=repr)


def first_difference(left, right):
    """The first difference in words; `None` if both are equal."""
    if left == right:
        return None
    only_left, only_right = list(left), []
    remaining = {}
    for row in only_left:
        remaining[row] = remaining.get(row, 0) + 1
    for row in right:
        if remaining.get(row, 0):
            remaining[row] -= 1
        else:
            only_right.append(row)
    only_left = [row for row, n in remaining.items() if n]
    return (
        f"{len(left)} and {len(right)} rows; only in the first ({len(only_left)}): {dict(only_left[0]) if only_left else '-'}; "
        f"only in the second ({len(only_right)}): {dict(only_right[0]) if only_right else '-'}"
    )


def assert_same(left, right, what):
    """Checks that both lists of canonical rows are equal."""
    difference = first_difference(left, right)
    assert difference is None, f"{what}: {difference}"
