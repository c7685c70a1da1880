"""The queries and views under ddl/, run on a lake in DuckDB. Each answer is compared with plain Python over all rows.
test_trino.py runs the same text on Trino."""

import re

import pytest

import answers
from answers import Versions, assert_answer, cases, constants
from queries import DDL, QUERIES, VIEWS, DuckDB, for_duckdb, parameters, text, with_values
from read_lake import CURATED, HOURLY
from authpulse import run


@pytest.fixture(scope="module")
def versions(queried):
    return Versions(queried.load(CURATED))


@pytest.fixture(scope="module")
def duckdb(queried):
    return DuckDB(queried)


def test_the_lake_is_worth_asking(queried, versions):
    """Every rule fires, hours of the week recur, events lie around midnight, and there were several commits."""
    rows = queried.rows(CURATED)
    flags = {flag for r in rows for flag in r["risk_flags"]}
    assert flags == {"NEW_DEVICE", "BURST_LOGIN", "LATERAL_MOVEMENT", "RARE_HOST"}
    assert len({r["event_date"] for r in rows}) == 38
    assert any(r["event_time"].microsecond for r in rows)
    assert len(versions.snapshots) >= 3
    run("verify", "--lake", queried.directory)


@pytest.mark.parametrize("name", QUERIES)
def test_the_answer_is_that_of_plain_python(queried, duckdb, versions, name):
    found = 0
    for values in cases(name, queried):
        expected = answers.answer(name, queried, versions, values)
        rows = duckdb.query(with_values(name, **constants(values, versions)))
        assert_answer(rows, expected, f"{name} {values}")
        found += len(rows)
    assert found, f"{name}: an answer without rows says nothing"


@pytest.mark.parametrize("view", VIEWS)
def test_views_have_the_rows_of_the_tables(queried, duckdb, view):
    rows = duckdb.query(f"SELECT * FROM {view}")
    if view == "auth_hours":
        assert len(rows) == len({r["window_start"] for r in queried.rows(HOURLY)})
        assert sum(r["logins"] for r in rows) == len(queried.rows(CURATED))
        assert sum(r["total_risk_score"] for r in rows) == sum(r["risk_score"] for r in queried.rows(CURATED))
        return
    wanted = [r for r in queried.rows(CURATED) if view != "auth_events_high_risk" or r["risk_score"] > 50]
    key = [("event_id", "user_id", "event_time", "risk_score", "computer_id", "event_date", "risk_level")] * 2
    ours, theirs = ({tuple(row[name] for name in key[0]): row for row in side} for side in (rows, wanted))
    assert len(rows) == len(wanted) and ours.keys() == theirs.keys()
    assert all(row["why"] == answers.why(theirs[at]) for at, row in ours.items())


# A predicate, a bound or an order, broken at one place of a query at a time; every break must be noticed.
BREAKS = [
    ("high_risk_last_hour", "e.event_time > p.as_of - INTERVAL '1' HOUR", "e.event_time > p.as_of - INTERVAL '2' HOUR"),
    ("high_risk_last_hour", "e.event_date >= CAST(p.as_of - INTERVAL '1' HOUR AS date)", "e.event_date >= CAST(p.as_of AS date)"),
    ("high_risk_last_hour", "e.risk_score >= p.min_score", "e.risk_score > p.min_score + 20"),
    ("high_risk_last_hour", "ORDER BY e.risk_score DESC, e.event_time", "ORDER BY e.event_time"),
    ("user_timeline", "e.user_id = p.user_id", "e.user_id >= p.user_id"),
    ("user_timeline", "e.event_date <= p.to_day", "e.event_date < p.to_day"),
    ("first_time_devices", "c.is_new_device = 1", "c.is_new_device = 0"),
    ("first_time_devices", "d.day = f.event_date AND", ""),
    ("lateral_movement", "c.unique_computers_1h >= p.min_computers", "c.unique_computers_1h > p.min_computers + 3"),
    ("lateral_movement", "c.event_date >= p.from_day - INTERVAL '1' DAY", "c.event_date >= p.from_day"),
    ("lateral_movement", "ORDER BY first_time, computer_id", "ORDER BY computer_id"),
    ("lateral_movement", "c.event_time > k.until_time - INTERVAL '1' HOUR", "c.event_time > k.until_time - INTERVAL '2' HOUR"),
    ("rare_hosts", "place * 20 >= hosts", "place * 10 >= hosts"),
    ("rare_hosts", "d.\"date\" > p.last_day", "d.\"date\" >= p.last_day"),
    ("hourly_against_baseline", "% 168 = 0", "% 24 = 0"),
    ("hourly_against_baseline", "b.window_start < j.window_start", "b.window_start <= j.window_start"),
    ("hourly_against_baseline", "- j.weeks * INTERVAL '7' DAY", "- j.weeks * INTERVAL '6' DAY"),
    ("freshness", "place * 20 >= n * 19", "place * 2 >= n"),
    ("freshness", "c.event_time <= p.as_of", "c.event_time <= p.as_of + INTERVAL '1' HOUR"),
    ("freshness", "f.lag_p95_ms <= p.target_seconds * 1000", "true"),
    ("completeness", "h.window_start >= p.from_hour", "h.window_start > p.from_hour"),
    ("completeness", ">= p.min_hours", "> p.min_hours"),
    ("audit", "SELECT d.ingest_date AS day, 0 AS received", "SELECT d.ingest_date AS day, 1 AS received"),
    ("audit", "c.ingestion_time < CAST(p.to_day AS timestamp) + INTERVAL '1' DAY", "c.ingestion_time < CAST(p.to_day AS timestamp)"),
    ("commits", "'added-records'", "'total-records'"),
    ("commits", "ORDER BY committed_at", "ORDER BY committed_at DESC"),
    ("before_and_after_commit", "LEFT JOIN", "INNER JOIN"),
    ("before_and_after_commit", "o.event_date = n.event_date", "o.event_date < n.event_date"),
    ("rows_of_commit", "o.event_id IS NULL", "o.event_id IS NOT NULL"),
]  # fmt: skip


@pytest.mark.parametrize("name, whole, broken", BREAKS)
def test_a_broken_query_is_noticed(queried, duckdb, versions, name, whole, broken):
    for values in cases(name, queried):
        query = with_values(name, **constants(values, versions))
        assert whole in query, f"{name} has no {whole!r} any more"
        try:
            assert_answer(
                duckdb.query(query.replace(whole, broken)), answers.answer(name, queried, versions, values), name
            )
        except AssertionError:
            return
    pytest.fail(f"{name}: nobody noticed {broken!r} for {whole!r}")


def test_every_query_is_broken_once():
    assert {name for name, _, _ in BREAKS} == set(QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_runs_as_it_stands(duckdb, versions, name):
    """With its own constants; only versions must be filled in."""
    ids = {word: versions.id(number) for number, word in enumerate(("before", "after")) if word in parameters(name)}
    duckdb.query(with_values(name, **ids))


@pytest.mark.parametrize("name", [*VIEWS, *QUERIES])
def test_a_statement_says_what_it_is(name):
    statement = text(name)
    head = [line for line in statement.splitlines() if line.startswith("--")]
    assert statement.startswith("\n".join(head)), "the head comes first"
    assert head[0].endswith(("?", ".")) or head[1].endswith(("?", ".")), "it begins with the question"
    words = "\n".join(head)
    assert re.search(r"^-- (A row|Cost) ", words, re.MULTILINE) and "-- Cost" in words
    for view in VIEWS:
        used = re.search(rf"(FROM|JOIN) {view}\b", statement)
        told = re.search(rf"^-- Needs .*{view}|Stands on the view\s(-- )?{view}", words, re.MULTILINE)
        assert bool(used) == bool(told), view
    assert f"`{name}" in (DDL / "README.md").read_text(), "ddl/README.md lists it"
    assert len(statement) < 262_144 and max(map(len, statement.splitlines())) <= 120
    if name in QUERIES:
        assert "-- Parameters" in words
        for parameter in parameters(name):
            assert re.search(rf"\b{parameter}\b", words), f"{parameter} is explained"
        tail = re.split(r"^ORDER BY\b", statement, flags=re.MULTILINE)
        assert len(tail) == 2, "the whole answer has an order"


def test_nothing_else_lies_among_the_statements():
    assert {file.stem for file in (DDL / "views").iterdir()} == set(VIEWS)
    assert {file.name for file in (DDL / "queries").iterdir()} == {f"{name}.sql" for name in QUERIES}
    assert set(answers.CASES) == set(QUERIES)


def test_constants_are_replaced_as_values(duckdb):
    """A value cannot become SQL: its quotes are doubled."""
    query = with_values("user_timeline", user_id="x' OR 1 = 1 --")
    assert "'x'' OR 1 = 1 --' AS user_id" in query and duckdb.query(query) == []
    with pytest.raises(AssertionError, match="no parameter"):
        with_values("user_timeline", user="U1")


def test_differences_of_dialect():
    """What ddl/README.md says of DuckDB is true."""
    duck = for_duckdb("SELECT date_diff('second', a, b) FROM t FOR VERSION AS OF 7 AS x", lambda name: f"/{name}.json")
    assert "DATE_SUB('second', a, b)" in duck
    assert "ICEBERG_SCAN('/t.json', snapshot_from_id = 7)" in duck
