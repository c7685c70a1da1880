"""The statements under ddl/: with values for their parameters, and for an engine that is not Athena's."""

import re
from datetime import date, datetime
from pathlib import Path

import sqlglot
from sqlglot import exp

from read_lake import TABLES

DDL = Path(__file__).resolve().parents[2] / "ddl"
QUERIES = sorted(file.stem for file in (DDL / "queries").glob("*.sql"))
# In an order in which they can be made.
VIEWS = ("auth_events_explained", "auth_events_high_risk", "auth_hours")

_PARAMETER = re.compile(r"^(    )(.+)( AS )(\w+)(,?)$", re.MULTILINE)
_VERSION = re.compile(r"(FOR VERSION AS OF )\d+( /\* (\w+) \*/)")


def text(name):
    (file,) = DDL.glob(f"*/{name}.sql")
    return file.read_text()


def _literal(value):
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S}'"
    if isinstance(value, date):
        return f"DATE '{value}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def split(query):
    """A query, split at its `params`: the text before, within and after them."""
    begin = "WITH params AS (\n  SELECT\n"
    if begin not in query:
        return query, "", ""
    head, rest = query.split(begin, 1)
    params, tail = rest.split("\n)", 1)
    return head + begin, params, "\n)" + tail


def parameters(name):
    """The names of a query's parameters, as its text has them."""
    query = text(name)
    return [found[4] for found in _PARAMETER.finditer(split(query)[1])] + [
        found[3] for found in _VERSION.finditer(query)
    ]


def with_values(name, **values):
    """The query with other constants; those that are not named stay."""
    unknown = set(values) - set(parameters(name))
    assert not unknown, f"{name} has no parameter {unknown}"
    head, params, tail = split(text(name))

    def constant(found):
        value = _literal(values[found[4]]) if found[4] in values else found[2]
        return f"{found[1]}{value}{found[3]}{found[4]}{found[5]}"

    def version(found):
        return f"{found[1]}{values[found[3]]}{found[2]}" if found[3] in values else found[0]

    return _VERSION.sub(version, head + _PARAMETER.sub(constant, params) + tail)


def for_duckdb(athena, location_of):
    """The same statement in DuckDB's dialect. sqlglot does most; the rest is here, and in ddl/README.md."""
    (tree,) = sqlglot.parse(athena, read="athena")

    def node(it):
        # Athena counts whole units that have passed, DuckDB's date_diff counts boundaries that were crossed.
        if isinstance(it, exp.DateDiff):
            unit = exp.Literal.string(it.unit.name.lower())
            return exp.Anonymous(this="date_sub", expressions=[unit, it.expression, it.this])
        if isinstance(it, exp.Table) and it.args.get("version"):
            version = it.args["version"].expression.name
            scan = f"SELECT * FROM iceberg_scan('{location_of(it.name)}', snapshot_from_id = {version})"
            return exp.Subquery(this=sqlglot.parse_one(scan, read="duckdb"), alias=it.args.get("alias"))
        return it

    return tree.transform(node).sql(dialect="duckdb")


class DuckDB:
    """A lake in DuckDB, under the names that Athena has for its tables and views."""

    def __init__(self, lake):
        self._lake, self._connection = lake, lake.connect()
        for table in TABLES:
            self._connection.execute(f"CREATE VIEW {table} AS FROM iceberg_scan('{lake.metadata_location(table)}')")
            self._snapshots(table)
        raw = f"read_parquet('{lake.raw_files()}', hive_types = {{'ingest_date': VARCHAR}})"
        self._connection.execute(f"CREATE VIEW auth_events_raw AS FROM {raw}")
        for view in VIEWS:
            self._connection.execute(self.translate(text(view)))

    def _snapshots(self, table):
        """Trino's metadata table. DuckDB's own function lacks parent and summary, so the rows are PyIceberg's."""
        rows = self._lake.load(table).inspect.snapshots()
        self._connection.register(f"{table} snapshots", rows)
        self._connection.execute(f'CREATE VIEW "{table}$snapshots" AS FROM "{table} snapshots"')

    def translate(self, athena):
        return for_duckdb(athena, self._lake.metadata_location)

    def query(self, athena):
        answer = self._connection.execute(self.translate(athena))
        names = [column[0] for column in answer.description]
        return [dict(zip(names, row)) for row in answer.fetchall()]
