"""What `authpulse evaluate` must say, worked out simply: all rows in memory, as PyIceberg reads the tables, by the help text alone.

It shares no code with the program; the order of equals is written here once more.
"""

import csv
import datetime
import json
from collections import defaultdict

BUDGETS = (20, 50, 100, 308)
# Second 0 of a file.
BASE = datetime.datetime(2015, 1, 1, tzinfo=datetime.timezone.utc)


def fnv(text):
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return value


def labels_of(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [dict(row, time=int(row["time"])) for row in csv.DictReader(lines)]


def seconds(time):
    return int((time.replace(tzinfo=datetime.timezone.utc) - BASE).total_seconds())


def letter(payload):
    """Time, user and computer of a dead letter, which is a line of a file or what a replay makes of one."""
    if payload.startswith(b"{"):
        record = json.loads(payload)
        return (record["time"], record["user"], record["computer"])
    fields = payload.decode().split(",")
    return (int(fields[0]), *fields[1:]) if len(fields) == 3 and fields[0].isdigit() else None


def evaluated(lake, labels_path, by="score", rule=None):
    """The figures of `evaluate --json`, from a `pyiceberg` catalog's tables."""
    curated = ("event_time", "user_id", "computer_id", "risk_score", "risk_flags", "is_new_device")
    rows = lake.load_table("authpulse.auth_events_curated").scan(selected_fields=curated).to_arrow().to_pylist()
    rejected = lake.load_table("authpulse.auth_events_rejected").scan(selected_fields=("reason", "payload")).to_arrow().to_pylist()
    labels = labels_of(labels_path)
    at = {(seconds(row["event_time"]), row["user_id"], row["computer_id"]): row for row in rows}
    landed, not_landed = [], defaultdict(int)
    for label in labels:
        row = at.get((label["time"], label["user"], label["computer"]))
        if row:
            landed.append((label, row))
            continue
        event = (label["time"], label["user"], label["computer"])
        not_landed[next((row["reason"] for row in rejected if letter(row["payload"]) == event), "not in the lake")] += 1
    first = min(label["time"] for label, _ in landed) // 86_400
    last = max(label["time"] for label, _ in landed) // 86_400
    account_days = defaultdict(list)
    for row in rows:
        day = seconds(row["event_time"]) // 86_400
        if first <= day <= last:
            account_days[row["user_id"], day].append(row)
    days = len({day for _, day in account_days})
    labelled = {(label["user"], label["time"] // 86_400) for label, _ in landed}

    def fires(row):
        return rule in (row["risk_flags"] or [])

    def key(by, of):
        if by == "score":
            return (max(row["risk_score"] for row in of), sum(row["risk_score"] for row in of))
        if by == "rule":
            return (sum(fires(row) for row in of), 0)
        if by == "first-seen":
            return (sum(row["is_new_device"] for row in of), 0)
        return (0, 0)

    def judged(by):
        values = {account: key(by, of) for account, of in account_days.items()}
        order = sorted(values, key=lambda account: (-values[account][0], -values[account][1], fnv(f"{account[0]},{account[1]}")))
        precisions = [
            len(labelled & set(order[: place + 1])) / (place + 1) for place, account in enumerate(order) if account in labelled
        ]
        budgets = []
        for per_day in BUDGETS:
            taken = [a for a in order[: per_day * days] if by == "random" or values[a][0] > 0]
            cut, taken_set = (values[taken[-1]][0] if taken else 0), set(taken)
            delays, kinds = [], defaultdict(lambda: [0, 0])
            for attack in {label["attack"] for label, _ in landed}:
                mine = [(label, row) for label, row in landed if label["attack"] == attack]
                reaching = [
                    label["time"]
                    for label, row in mine
                    if (label["user"], label["time"] // 86_400) in taken_set
                    and (by != "score" or row["risk_score"] >= cut)
                    and (by != "rule" or fires(row))
                ]
                if reaching:
                    delays.append(min(reaching) - min(label["time"] for label, _ in mine))
                for account in {(label["user"], label["time"] // 86_400) for label, _ in mine}:
                    of = [label for label, _ in mine if (label["user"], label["time"] // 86_400) == account]
                    computers = len({label["computer"] for label in of})
                    size = "1" if computers == 1 else "2-6" if computers <= 6 else "7+"
                    kinds[of[0]["kind"], size][0] += account in taken_set
                    kinds[of[0]["kind"], size][1] += 1
            caught = len(labelled & taken_set)
            budgets.append({
                "per_day": per_day,
                "alerts": len(taken),
                "caught": caught,
                "recall": caught / len(labelled),
                "precision": caught / len(taken) if taken else 0.0,
                "attacks_detected": len(delays),
                "median_seconds_to_detection": sorted(delays)[len(delays) // 2] if delays else None,
                "kinds": {kind: tuple(count) for kind, count in kinds.items()},
            })
        return {"budgets": budgets, "average_precision": sum(precisions) / len(labelled)}

    return {
        "by": f"rule {rule}" if by == "rule" else by,
        "days": days,
        "labelled": len(labelled),
        "account_days": len(account_days),
        "rows": len(rows),
        "labels": len(labels),
        "landed": len(landed),
        "not_landed": dict(not_landed),
        **judged(by),
        "first_seen": judged("first-seen"),
        "random": judged("random"),
    }
