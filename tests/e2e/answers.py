"""What each query under ddl/queries must answer, from all rows of the lake, in plain Python, without any query.

`CASES` names the constants of each query. Answers are lists of dictionaries in the order that the query promises.
"""

from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from math import floor

from read_lake import CURATED, REJECTED

HOUR, DAY = timedelta(hours=1), timedelta(days=1)

EARLY, LATE = date(2015, 1, 3), date(2015, 1, 20)
NIGHT, MORNING = date(2015, 2, 6), date(2015, 2, 7)
MIDNIGHT = datetime(2015, 2, 7, 0, 30)

CASES = {
    "high_risk_last_hour": [
        {"as_of": datetime(2015, 1, 26, 11), "min_score": 51},
        {"as_of": datetime(2015, 1, 26, 11), "min_score": 1},
        {"as_of": MIDNIGHT, "min_score": 1},
        {"as_of": datetime(2015, 1, 20, 3), "min_score": 1},
    ],
    "user_timeline": [
        {"user_id": "U5", "from_day": NIGHT, "to_day": MORNING},
        {"user_id": 'quo"te', "from_day": EARLY, "to_day": LATE},
        {"user_id": "用户", "from_day": LATE, "to_day": LATE},
        {"user_id": "o'nobody", "from_day": LATE, "to_day": LATE},
    ],
    "first_time_devices": [{"from_day": LATE, "to_day": MORNING}, {"from_day": EARLY, "to_day": EARLY}],
    "lateral_movement": [
        {"from_day": MORNING, "to_day": MORNING, "min_computers": 10},
        {"from_day": LATE, "to_day": LATE + 3 * DAY, "min_computers": 12},
    ],
    "rare_hosts": [
        {"last_day": MORNING, "lookback_days": 30},
        {"last_day": date(2015, 1, 5), "lookback_days": 2},
    ],
    "hourly_against_baseline": [
        {"from_day": date(2015, 1, 29), "to_day": date(2015, 1, 30), "weeks": 4},
        {"from_day": NIGHT, "to_day": MORNING, "weeks": 3},
    ],
    "freshness": [
        {"as_of": datetime(2015, 1, 20, 18), "hours": 24, "target_seconds": 36000},
        {"as_of": datetime(2015, 1, 20, 18), "hours": 24, "target_seconds": 1},
        {"as_of": MIDNIGHT, "hours": 2, "target_seconds": 3600},
        # The newest event is less than a second old, and its row took longer.
        {"as_of": datetime(2015, 2, 7, 0, 50), "hours": 1, "target_seconds": 0},
        # Mostly from the file, and mostly from the stream: whichever waited longer, one case tells 50 % from 95 %.
        {"as_of": datetime(2015, 1, 26, 12), "hours": 240, "target_seconds": 1},
        {"as_of": datetime(2015, 1, 31), "hours": 240, "target_seconds": 1},
        {"as_of": datetime(2016, 1, 1), "hours": 24, "target_seconds": 300},
    ],
    "completeness": [
        {"from_hour": datetime(2015, 1, 4), "to_hour": datetime(2015, 1, 11), "min_hours": 1},
        {"from_hour": datetime(2015, 1, 4, 12), "to_hour": datetime(2015, 1, 11, 12), "min_hours": 12},
        {"from_hour": datetime(2015, 1, 20, 8), "to_hour": datetime(2015, 1, 21, 8), "min_hours": 1},
        {"from_hour": datetime(2015, 2, 5), "to_hour": datetime(2015, 2, 9), "min_hours": 12},
    ],
    # The days of arrival are those on which the test runs: filled in by `cases`.
    "audit": [{}],
    "commits": [{}],
    # The versions are those of the engine's own lake: filled in by `cases`, as numbers of commits, oldest first.
    "before_and_after_commit": [
        {"before": 0, "after": 1, "from_day": LATE, "to_day": MORNING},
        {"before": 1, "after": 2, "from_day": EARLY, "to_day": MORNING},
    ],
    "rows_of_commit": [
        {"before": 1, "after": 2, "from_day": EARLY, "to_day": MORNING},
        {"before": 0, "after": 2, "from_day": LATE, "to_day": LATE + DAY},
    ],
}


def cases(name, lake):
    """The constants that a query is asked with."""
    if name == "audit":
        days = {row["ingestion_time"].date() for row in lake.rows(CURATED)}
        return [{"from_day": min(days), "to_day": max(days)}, {"from_day": min(days) - DAY, "to_day": min(days) - DAY}]
    return CASES[name]


def order(text):
    """SQL sorts text by its bytes."""
    return text.encode()


def why(row):
    words = {
        "NEW_DEVICE": f"never seen on {row['computer_id']} before",
        "BURST_LOGIN": f"{row['login_count_1h']} logons within an hour",
        "LATERAL_MOVEMENT": f"on {row['unique_computers_1h']} different computers within an hour",
        "RARE_HOST": f"{row['computer_id']} is among the least used computers "
        f"({row['host_popularity']} logons in the look-back)",
    }
    return "; ".join(words[flag] for flag in row["risk_flags"])


def pick(row, *names):
    return {name: row[name] for name in names}


def by_time(row):
    return row["event_time"], row["event_id"], row["computer_id"]


def high_risk_last_hour(lake, as_of, min_score):
    users = defaultdict(list)
    for row in lake.rows(CURATED):
        if as_of - HOUR < row["event_time"] <= as_of and row["risk_score"] >= min_score:
            users[row["user_id"]].append(row)
    answer = []
    for user, rows in users.items():
        worst = min(rows, key=lambda r: (-r["risk_score"], *by_time(r)))
        figures = pick(worst, "risk_score", "risk_level")
        place = pick(worst, "computer_id", "event_time")
        answer.append({"user_id": user, **figures, "events": len(rows), **place, "why": why(worst)})
    return sorted(answer, key=lambda r: (-r["risk_score"], -r["events"], order(r["user_id"])))


def user_timeline(lake, user_id, from_day, to_day):
    mine = [r for r in lake.rows(CURATED) if r["user_id"] == user_id and from_day <= r["event_time"].date() <= to_day]
    mine.sort(key=by_time)
    answer = []
    for before, row in zip([None, *mine], mine):
        answer.append(
            {
                "event_time": row["event_time"],
                "previous_computer": before and before["computer_id"],
                "computer_id": row["computer_id"],
                "seconds_since_previous": before and int((row["event_time"] - before["event_time"]).total_seconds()),
                **pick(row, "login_count_1h", "unique_computers_1h", "risk_score", "risk_level"),
                "why": why(row),
            }
        )
    return answer


def first_time_devices(lake, from_day, to_day):
    rows = [r for r in lake.rows(CURATED) if from_day <= r["event_time"].date() <= to_day]
    logons = defaultdict(list)
    users = defaultdict(set)
    for row in rows:
        logons[row["user_id"], row["computer_id"]].append(row["event_time"])
        users[row["event_time"].date(), row["computer_id"]].add(row["user_id"])
    firsts = [row for row in rows if "NEW_DEVICE" in row["risk_flags"]]
    return [
        {
            "first_time": row["event_time"],
            **pick(row, "user_id", "computer_id", "risk_score", "risk_level"),
            "logons": len(logons[row["user_id"], row["computer_id"]]),
            "last_time": max(logons[row["user_id"], row["computer_id"]]),
            "users_that_day": len(users[row["event_time"].date(), row["computer_id"]]),
        }
        for row in sorted(firsts, key=lambda r: (r["event_time"], order(r["user_id"]), r["event_id"], r["computer_id"]))
    ]


def lateral_movement(lake, from_day, to_day, min_computers):
    users = defaultdict(list)
    for row in sorted(lake.rows(CURATED), key=by_time):
        users[row["user_id"]].append(row)
    answer = []
    for user, rows in users.items():
        day = from_day
        while day <= to_day:
            wide = [r for r in rows if r["event_time"].date() == day and r["unique_computers_1h"] >= min_computers]
            day += DAY
            if not wide:
                continue
            peak = max(wide, key=lambda r: r["unique_computers_1h"])  # the first of equals
            until = peak["event_time"]
            hour = [r for r in rows if until - HOUR < r["event_time"] <= until]
            first = {}
            for row in hour:
                first.setdefault(row["computer_id"], row["event_time"])
            path = sorted(first, key=lambda computer: (first[computer], order(computer)))
            answer.append(
                {
                    "user_id": user,
                    "from_time": hour[0]["event_time"],
                    "until_time": until,
                    "computers": len(path),
                    "new_computers": len({r["computer_id"] for r in hour if "NEW_DEVICE" in r["risk_flags"]}),
                    "logons": len(hour),
                    "risk_score": peak["risk_score"],
                    "path": " > ".join(path),
                }
            )
    return sorted(answer, key=lambda r: (-r["computers"], r["until_time"], order(r["user_id"])))


def rare_hosts(lake, last_day, lookback_days):
    hosts = defaultdict(list)
    for row in lake.rows(CURATED):
        if last_day - lookback_days * DAY < row["event_time"].date() <= last_day:
            hosts[row["computer_id"]].append(row)
    popularity = sorted(len(rows) for rows in hosts.values())
    p5 = popularity[(len(popularity) + 19) // 20 - 1]
    answer = []
    for host, rows in hosts.items():
        users = defaultdict(set)
        for row in rows:
            users[row["event_time"].date()].add(row["user_id"])
        answer.append(
            {
                "computer_id": host,
                "popularity": len(rows),
                "days": len(users),
                "most_users_in_a_day": max(map(len, users.values())),
                "high_risk_events": sum(row["risk_level"] in ("HIGH", "CRITICAL") for row in rows),
                "last_used": max(users),
                "p5": p5,
                "hosts": len(hosts),
            }
        )
    rare = [row for row in answer if row["popularity"] <= p5]
    return sorted(rare, key=lambda r: (r["popularity"], order(r["computer_id"])))


def hourly_against_baseline(lake, from_day, to_day, weeks):
    hours = defaultdict(list)
    for row in lake.rows(CURATED):
        hours[row["user_id"], row["event_time"].replace(minute=0, second=0, microsecond=0)].append(row)
    answer = []
    for (user, start), rows in hours.items():
        if not from_day <= start.date() <= to_day:
            continue
        past = [len(hours.get((user, start - 7 * n * DAY), [])) for n in range(1, weeks + 1)]
        mean = sum(past) / weeks
        deviation = (sum((x - mean) ** 2 for x in past) / weeks) ** 0.5
        answer.append(
            {
                "user_id": user,
                "window_start": start,
                "total_logins": len(rows),
                "unique_computers": len({r["computer_id"] for r in rows}),
                "max_risk_score": max(r["risk_score"] for r in rows),
                "weeks_seen": sum(x > 0 for x in past),
                "mean_logons": mean,
                "standard_deviation": deviation,
                "deviations": (len(rows) - mean) / deviation if deviation else None,
            }
        )

    def rank(row):
        far = row["deviations"]
        # As it is shown: further digits depend on the order of additions.
        first = (1, 0) if far is None else (0, -floor(abs(far) * 100 + 0.5) * (1 if far > 0 else -1))
        return *first, -row["total_logins"], row["window_start"], order(row["user_id"])

    return sorted(answer, key=rank)


def freshness(lake, as_of, hours, target_seconds):
    rows = [r for r in lake.rows(CURATED) if as_of - hours * HOUR < r["event_time"] <= as_of]
    names = "events newest_event newest_event_age_seconds newest_processing".split()
    names += "lag_p50_ms lag_p95_ms lag_max_ms is_fresh".split()
    if not rows:
        return [dict(zip(names, [0, None, None, None, None, None, None, False]))]
    newest = max(r["event_time"] for r in rows)
    age = int((as_of - newest).total_seconds())
    lags = sorted((r["processing_time"] - r["ingestion_time"]) / timedelta(milliseconds=1) for r in rows)
    p50, p95 = (lags[-(-len(lags) * percent // 100) - 1] for percent in (50, 95))
    fresh = age <= target_seconds and p95 <= target_seconds * 1000
    processed = max(r["processing_time"] for r in rows)
    return [dict(zip(names, [len(rows), newest, age, processed, p50, p95, lags[-1], fresh]))]


def completeness(lake, from_hour, to_hour, min_hours):
    logons = Counter(r["event_time"].replace(minute=0, second=0, microsecond=0) for r in lake.rows(CURATED))
    answer, gap, hour = [], None, from_hour
    while hour <= to_hour:
        if hour == to_hour or logons[hour]:
            if gap is not None and hour - gap >= min_hours * HOUR:
                answer.append(
                    {
                        "gap_start": gap,
                        "gap_end": hour,
                        "empty_hours": (hour - gap) // HOUR,
                        "logons_before": None if gap == from_hour else logons[gap - HOUR],
                        "logons_after": None if hour == to_hour else logons[hour],
                    }
                )
            gap = None
        elif gap is None:
            gap = hour
        hour += HOUR
    return answer


def audit(lake, from_day, to_day):
    received = Counter(r["ingestion_time"].date() for r in lake.raw())
    curated = Counter(r["ingestion_time"].date() for r in lake.rows(CURATED))
    rejected = Counter((r["ingestion_time"].date(), r["reason"]) for r in lake.rows(REJECTED))
    answer = []
    for day in sorted(set(received) | set(curated) | {day for day, _ in rejected}):
        if from_day <= day <= to_day:
            reasons = "invalid misrouted future late duplicate failed".split()
            counts = {reason: rejected[day, reason] for reason in reasons}
            dead = sum(counts.values())
            difference = received[day] - curated[day] - dead
            totals = {"received": received[day], "curated": curated[day], "rejected": dead, "difference": difference}
            answer.append({"day": day, **totals, **counts})
    return answer


def commits(versions):
    """The answer, from a table's own metadata."""
    answer = []
    for snapshot in versions.snapshots:
        summary = snapshot.summary

        def number(name):
            return None if summary[name] is None else int(summary[name])

        answer.append(
            {
                "snapshot_id": snapshot.snapshot_id,
                "parent_id": snapshot.parent_snapshot_id,
                "committed_at": datetime(1970, 1, 1) + timedelta(milliseconds=snapshot.timestamp_ms),
                "operation": summary.operation.value,
                "added_records": number("added-records"),
                "added_files": number("added-data-files"),
                "total_records": number("total-records"),
                "entries": number("authpulse.entries"),
            }
        )
    return answer


def before_and_after_commit(versions, before, after, from_day, to_day):
    def days(version):
        scores = defaultdict(list)
        for row in versions.rows(version):
            if from_day <= row["event_time"].date() <= to_day:
                scores[row["event_time"].date()].append(row["risk_score"])
        return scores

    older, newer = days(before), days(after)
    return [
        {
            "event_date": day,
            "rows_before": len(older[day]),
            "rows_after": len(scores),
            "added": len(scores) - len(older[day]),
            "max_score_before": max(older[day], default=None),
            "max_score_after": max(scores),
        }
        for day, scores in sorted(newer.items())
    ]


def rows_of_commit(versions, before, after, from_day, to_day):
    def key(row):
        return row["event_id"], row["user_id"], row["event_time"], row["computer_id"]

    known = set(map(key, versions.rows(before)))
    names = "event_time user_id computer_id risk_score risk_level processing_time event_id".split()
    new = [
        pick(row, *names)
        for row in versions.rows(after)
        if key(row) not in known and from_day <= row["event_time"].date() <= to_day
    ]
    return sorted(new, key=lambda r: (r["event_time"], order(r["user_id"]), r["event_id"], r["computer_id"]))


class Versions:
    """The commits of a table, read by PyIceberg."""

    def __init__(self, table):
        self._table, self._rows = table, {}
        self.snapshots = table.snapshots()

    def id(self, number):
        return self.snapshots[number].snapshot_id

    def rows(self, number):
        """All rows of a version; versions are numbered from the oldest."""
        if number not in self._rows:
            self._rows[number] = self._table.scan(snapshot_id=self.id(number)).to_arrow().to_pylist()
        return self._rows[number]


TIME_TRAVEL = {"commits": commits, "before_and_after_commit": before_and_after_commit, "rows_of_commit": rows_of_commit}


def answer(name, lake, versions, values):
    """What the query must answer for these constants."""
    if name in TIME_TRAVEL:
        return TIME_TRAVEL[name](versions, **values)
    return globals()[name](lake, **values)


def constants(values, versions):
    """The constants as the query's text has them: versions by their ids."""
    return {name: versions.id(value) if name in ("before", "after") else value for name, value in values.items()}


# How far a figure may be from the exact one: two decimals are shown, and engines cut milliseconds in two ways.
TOLERANCE = {
    "mean_logons": 0.00501,
    "standard_deviation": 0.00501,
    "deviations": 0.00501,
    "lag_p50_ms": 1,
    "lag_p95_ms": 1,
    "lag_max_ms": 1,
}


def plain(value):
    """A time in UTC without its zone; anything else as it is."""
    if isinstance(value, datetime) and value.tzinfo:
        return (value - value.utcoffset()).replace(tzinfo=None)
    return value


def assert_answer(rows, expected, what):
    """Checks that the rows, in their order, are the expected ones, column by column."""
    rows = [{name: plain(value) for name, value in row.items()} for row in rows]
    for number, (row, wanted) in enumerate(zip(rows, expected)):
        assert list(row) == list(wanted), f"{what}: columns"
        for name, value in row.items():
            same = value == wanted[name]
            if name in TOLERANCE and None not in (value, wanted[name]):
                same = abs(value - wanted[name]) <= TOLERANCE[name]
            assert same, f"{what}: row {number}, {name}: {value!r} instead of {wanted[name]!r}\n{row}\n{wanted}"
    assert len(rows) == len(expected), f"{what}: {len(rows)} rows instead of {len(expected)}"
