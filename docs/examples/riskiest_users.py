#!/usr/bin/env python3
"""Prints the riskiest users of a lake, read as any other tool would: PyIceberg for the catalog, DuckDB for the query.

    pip install "pyiceberg[sql-sqlite,pyarrow]" duckdb
    python3 docs/examples/riskiest_users.py LAKE [--users N] [--min-score S]
"""

import argparse
import sys
from pathlib import Path

RISKIEST = """
    SELECT user_id,
           max(risk_score)                            AS score,
           arg_max(risk_level, risk_score)            AS level,
           count(*) FILTER (WHERE risk_score > 50)    AS high_events,
           arg_max(computer_id, (risk_score, -epoch_us(event_time))) AS computer_id,
           arg_max(event_time, (risk_score, -epoch_us(event_time)))  AS event_time,
           arg_max(risk_flags, (risk_score, -epoch_us(event_time)))  AS risk_flags
    FROM curated
    GROUP BY user_id
    ORDER BY score DESC, high_events DESC, sum(risk_score) DESC, user_id
    LIMIT ?
"""
COLUMNS = ("user_id", "computer_id", "event_time", "risk_score", "risk_level", "risk_flags")


def load_table(lake: Path, name: str):
    """Opens a table through the lake's own catalog."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("authpulse", uri=f"sqlite:///{lake / 'catalog.db'}", warehouse=f"file://{lake / 'warehouse'}")
    return catalog.load_table(f"authpulse.{name}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints the riskiest users of a lake.")
    parser.add_argument("lake", type=Path, help="the lake's directory")
    parser.add_argument("--users", type=int, default=10, help="how many (default: 10)")
    parser.add_argument("--min-score", type=int, default=1, help="lowest risk_score to look at (default: 1)")
    args = parser.parse_args()

    lake = args.lake.resolve()
    if not (lake / "catalog.db").is_file():
        print(f"error: {args.lake} is no lake: it has no catalog.db", file=sys.stderr)
        return 1
    try:
        import duckdb
        from pyiceberg.expressions import GreaterThanOrEqual
    except ImportError as missing:
        print(f'error: {missing}; pip install "pyiceberg[sql-sqlite,pyarrow]" duckdb', file=sys.stderr)
        return 1

    table = load_table(lake, "auth_events_curated")
    scan = table.scan(row_filter=GreaterThanOrEqual("risk_score", args.min_score), selected_fields=COLUMNS)
    connection = duckdb.connect()
    connection.register("curated", scan.to_arrow())
    rows = connection.execute(RISKIEST, [args.users]).fetchall()
    if not rows:
        print(f"no event scored {args.min_score} or more")
        return 0
    print(f"{'user':<12} {'score':>5} {'level':<9} {'HIGH or worse':>13}  worst logon")
    for user, score, level, high_events, computer, time, flags in rows:
        print(f"{user:<12} {score:>5} {level:<9} {high_events:>13,}  {time:%Y-%m-%d %H:%M:%S} on {computer}: {', '.join(flags)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
