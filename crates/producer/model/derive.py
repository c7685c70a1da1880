#!/usr/bin/env python3
"""Derives the models that `authpulse generate` draws from, out of aggregates of LANL's two data sets.

    derive.py                       writes lanl-9mo.txt.gz beside this file, from tests/data/lanl
    derive.py --cyber1 DIR          writes lanl-58.txt.gz as well, from the files of the 58 days in DIR
    derive.py --check               says whether lanl-9mo.txt.gz is what this script makes; exits 1 if not

The three files of the nine months are in tests/data/lanl. Those of the 58 days (4 MB) are not; docs/generator.md names
where each comes from. Standard library only. A model is gzipped text, a section a line: its name, then whole numbers.
Everything that needs a logarithm or a root is done here, so that the generator needs none.
"""

import argparse
import bisect
import collections
import csv
import gzip
import io
import math
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parent.parent.parent / "tests" / "data" / "lanl"
DAY = 86_400
HEAD = 10_000
# How many events of the head lie between two rows of growth.
HEAD_STEP = 200


def lines(path):
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else open(path)
    with opened as file:
        return [line.rstrip("\n") for line in file]


def write(path, sections):
    text = "".join(f"{name} {' '.join(map(str, values))}\n" for name, values in sections.items())
    packed = io.BytesIO()
    # No time and no name in the header, so that the same data makes the same bytes.
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=9, mtime=0) as file:
        file.write(text.encode())
    return text, packed.getvalue()


# --- the nine months -------------------------------------------------------------------------------------------------


def users_at_nodes(pairs, users, computers):
    """How many of the first n nodes are users, for every n.

    Nodes are numbered by first appearance, so computer c was not there before one of its users: when it came, at least
    max over c' <= c of (the lowest user of c') users had come. Users bound it from the other side. The middle is taken; the
    two are 1 to 20 % apart.
    """
    lowest_user, lowest_computer = [users] * (computers + 1), [computers] * (users + 1)
    for user, computer in pairs:
        lowest_user[computer] = min(lowest_user[computer], user)
        lowest_computer[user] = min(lowest_computer[user], computer)
    bound = [0] * (users + 1)
    for user in range(1, users + 1):
        bound[user] = max(bound[user - 1], lowest_computer[user])
    at_nodes, low = {0: 0}, 0
    for computer in range(1, computers + 1):
        low = max(low, lowest_user[computer])
        high = max(low, bisect.bisect_right(bound, computer) - 1)
        middle = (low + high) // 2
        at_nodes[computer + middle] = middle
    known = sorted(at_nodes)

    def at(nodes):
        right = min(bisect.bisect_left(known, nodes), len(known) - 1)
        left = max(0, right - 1)
        a, b = known[left], known[right]
        if a == b or nodes >= b:
            return min(users, max(at_nodes[b], nodes - computers))
        return at_nodes[a] + (at_nodes[b] - at_nodes[a]) * (nodes - a) // (b - a)

    return at


def hourly(chunks, head_rate):
    """Events in each hour of the nine months.

    Known is how long each million took. A profile of 7 x 24 hours is fitted to that (multiplicative updates, each hour by
    how the millions that it lies in came out), and each million's hours are then scaled to hold exactly it.
    """
    bounds = [0]
    for chunk in chunks:
        bounds.append(bounds[-1] + chunk["seconds"])
    hours = -(-bounds[-1] // 3600)
    spans = []
    for index, chunk in enumerate(chunks):
        start, end = bounds[index], bounds[index + 1]
        spans.append(
            [(hour, min(end, hour * 3600 + 3600) - max(start, hour * 3600)) for hour in range(start // 3600, (end - 1) // 3600 + 1)]
        )
    profile = [1.0] * 168
    for _ in range(60):
        up, down = [0.0] * 168, [0.0] * 168
        for span, chunk in zip(spans, chunks):
            # Millions of a holiday say nothing about the week.
            if chunk["seconds"] > 60_000:
                continue
            made = sum(profile[hour % 168] * seconds for hour, seconds in span)
            ratio = chunk["events"] / made
            for hour, seconds in span:
                up[hour % 168] += seconds * ratio
                down[hour % 168] += seconds
        profile = [p * (u / d if d else 1.0) for p, u, d in zip(profile, up, down)]
        profile = [
            (profile[hour - 1] + 6 * profile[hour] + profile[(hour + 1) % 168]) / 8 for hour in range(168)
        ]
    counts = [0.0] * hours
    for index, (span, chunk) in enumerate(zip(spans, chunks)):
        weights = [profile[hour % 168] * seconds for hour, seconds in span]
        fixed = 0.0
        if index == 0:
            # For the first hour, the rate itself is known.
            fixed, weights[0] = head_rate * 3600, 0.0
            counts[0] += fixed
        scale = (chunk["events"] - fixed) / sum(weights)
        for (hour, _), weight in zip(span, weights):
            counts[hour] += weight * scale
    whole, total = [], 0
    running = 0.0
    for count in counts:
        running += count
        whole.append(round(running) - total)
        total += whole[-1]
    whole[-1] += sum(chunk["events"] for chunk in chunks) - total
    # The last 29 seconds, which begin a 274th day, count in the hour before.
    if hours % 24 == 1:
        whole[-2:] = [sum(whole[-2:])]
    return whole, profile


def head_figures(events):
    """What the first 10,000 events say about seconds, groups (a user in a second) and users."""
    seconds = collections.Counter(time for time, _, _ in events)
    last = events[-1][0]
    # The file begins slowly; only the pace after that is typical.
    slow = next(s for s in range(1, last) if all(seconds[s + i] >= 15 for i in range(5)))
    per_second = sorted(seconds[s] for s in range(slow, last + 1))
    pace = sum(per_second) / len(per_second)
    spread = [per_second[min(len(per_second) - 1, (2 * i + 1) * len(per_second) // 128)] for i in range(64)]
    known, groups = collections.defaultdict(set), collections.defaultdict(collections.Counter)
    at, joined = 0, collections.Counter()
    while at < len(events):
        end = at
        while end < len(events) and events[end][:2] == events[at][:2]:
            end += 1
        user = events[at][1]
        fresh = {event[2] for event in events[at:end]} - known[user]
        if known[user] and not fresh:
            groups[min(len(known[user]), 4)][min(end - at, 5)] += 1
        if known[user] and fresh:
            joined[end - at > len(fresh)] += 1
        known[user] |= fresh
        at = end
    sizes = []
    for count in (2, 3, 4):
        total, running = sum(groups[count].values()), 0
        for size in (1, 2, 3, 4):
            running += groups[count][size]
            sizes.append(1000 * running // total)
    first, logons, pairs = {}, collections.Counter(), collections.defaultdict(set)
    for index, (_, user, computer) in enumerate(events):
        first.setdefault(user, index)
        logons[user] += 1
        pairs[user].add(computer)
    # Groups an hour that only repeat, as a rate from the first appearance on; one who came late is not taken for busier
    # than a third of the head can say.
    rates = [
        round(1000 * max(0, logons[user] - len(pairs[user])) / max(HEAD - first[user], HEAD // 3) * 100)
        for user in sorted(first)
    ]
    sessions = 1000 * joined[True] // sum(joined.values())
    return {"slow": [seconds[s] for s in range(1, slow)], "spread": spread, "pace": pace,
            "sizes": sizes, "rates": rates, "joined": [sessions]}


def nine_months():
    events = [line.split(",") for line in lines(DATA / "auth9mo_head10k.txt.gz")]
    events = [(int(time), int(user[1:]), int(computer[1:])) for time, user, computer in events]
    pairs = [line.split(",") for line in lines(DATA / "auth9mo_user_computer_pairs.csv.gz")[1:]]
    pairs = [(int(user[1:]), int(computer[1:])) for user, computer in pairs]
    rows = [line.split(",") for line in lines(DATA / "auth9mo_million_event_chunks.csv")[1:]]
    total = 708_304_516
    chunks = [
        {"events": min(1_000_000, total - 1_000_000 * int(row[0])), "seconds": int(row[3]), "nodes": int(row[4]), "pairs": int(row[5])}
        for row in rows
    ]
    users, computers = max(user for user, _ in pairs), max(computer for _, computer in pairs)
    of_user, of_computer = collections.Counter(user for user, _ in pairs), collections.Counter(c for _, c in pairs)
    users_at = users_at_nodes(pairs, users, computers)

    growth, seen = [], (set(), set(), set())
    for index, (_, user, computer) in enumerate(events):
        for things, thing in zip(seen, (user, computer, (user, computer))):
            things.add(thing)
        if (index + 1) % HEAD_STEP == 0:
            growth.append((index + 1, *map(len, seen)))
    # Between the head and the first million nothing is known: a power of the number of events, which meets both.
    _, head_users, head_computers, head_pairs = growth[-1]
    head_nodes, end_nodes, end_pairs = head_users + head_computers, chunks[0]["nodes"], chunks[0]["pairs"]
    steps = 24
    for step in range(1, steps):
        part = step / steps
        nodes = round(head_nodes * (end_nodes / head_nodes) ** part)
        growth.append((
            round(HEAD * 100**part), users_at(nodes), nodes - users_at(nodes),
            round(head_pairs * (end_pairs / head_pairs) ** part),
        ))
    event = 0
    for chunk in chunks:
        event += chunk["events"]
        at = users_at(chunk["nodes"])
        growth.append((event, at, chunk["nodes"] - at, chunk["pairs"]))

    head = head_figures(events)
    pace = head.pop("pace")
    first_hour = (sum(head["slow"]) + pace * (3600 - len(head["slow"]))) / 3600
    hours, profile = hourly(chunks, first_hour)
    normal = statistics.NormalDist()
    # How busy those are whom the head does not show: nobody knows; a log-normal spread.
    office = [round(1000 * math.exp(normal.inv_cdf((i + 0.5) / 128))) for i in range(128)]
    sections = {
        "growth_events": [b[0] - a[0] for a, b in zip([(0, 0, 0, 0), *growth], growth)],
        "growth_users": [b[1] - a[1] for a, b in zip([(0, 0, 0, 0), *growth], growth)],
        "growth_computers": [b[2] - a[2] for a, b in zip([(0, 0, 0, 0), *growth], growth)],
        "growth_pairs": [b[3] - a[3] for a, b in zip([(0, 0, 0, 0), *growth], growth)],
        "user_degrees": [of_user[user] for user in range(1, users + 1)],
        "computer_degrees": [of_computer[computer] for computer in range(1, computers + 1)],
        "hours": hours,
        "always_on": [round(pace * 3600)],
        **head,
        "office": office,
    }
    # The figures that --check compares a file with.
    weekdays, day_events = [0.0] * 7, collections.Counter()
    start = 0
    for chunk in chunks:
        at, left = start, chunk["events"]
        per_second = chunk["events"] / chunk["seconds"]
        while at < start + chunk["seconds"]:
            upto = min(start + chunk["seconds"], (at // DAY + 1) * DAY)
            day_events[at // DAY] += per_second * (upto - at)
            at = upto
        start += chunk["seconds"]
    sections["real_days"] = [round(day_events[day]) for day in sorted(day_events)]
    sections["real_seconds"] = [chunk["seconds"] for chunk in chunks]
    busiest = [n for _, n in collections.Counter(user for _, user, _ in events).most_common()]
    grouped = collections.Counter((time, user) for time, user, _ in events)
    per_second = collections.Counter(time for time, _, _ in events)
    per_second = sorted(per_second[s] for s in range(1, events[-1][0] + 1))
    sections["real_head"] = [
        len(seen[0]), len(seen[1]), len(seen[2]), busiest[0], sum(busiest[:10]), sum(busiest[:100]),
        sum(n for n in grouped.values() if n > 1),
        *(per_second[int(len(per_second) * p)] for p in (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)),
    ]
    nights = [sum(profile[day * 24 + hour] for day in range(4)) for hour in range(24)]
    print("profile of a working day, hour by hour, of its mean:", " ".join(f"{24 * n / sum(nights):.2f}" for n in nights))
    return sections


# --- the 58 days -----------------------------------------------------------------------------------------------------


def numbers(path):
    with (gzip.open(path, "rt") if path.suffix == ".gz" else open(path)) as file:
        for row in csv.DictReader(file):
            yield {key: int(value) if value.lstrip("-").isdigit() else value for key, value in row.items()}


def quantised(count):
    """A count in sixteen steps to the doubling, which is to within 3 %."""
    return round(16 * math.log2(count)) if count > 0 else 0


def fifty_eight_days(place):
    # The largest get a column of their own place in the order, so that sorting packs the rest.
    accounts = sorted(
        numbers(place / "full_identities.csv.gz"),
        key=lambda a: (a["is_machine"], a["first_day"], a["distinct_destinations"], a["last_day"], a["active_days"], a["auth_events"]),
    )
    computers = sorted((c["distinct_identities_to"] for c in numbers(place / "full_computers.csv.gz")), reverse=True)
    days = list(numbers(place / "full_days.csv"))
    fresh = list(numbers(place / "full_new_pairs_by_day.csv"))
    hours = list(numbers(place / "full_hours.csv"))
    # Of the red team: seconds, account, target, each numbered by first appearance; the source is left out, repeats are too.
    names, targets, red, seen = {}, {}, [], set()
    for line in lines(place / "redteam.txt.gz"):
        time, user, _, target = line.split(",")
        if (time, user, target) not in seen:
            seen.add((time, user, target))
            red.append((int(time), names.setdefault(user, len(names)), targets.setdefault(target, len(targets))))
    def steps(values):
        return [b - a for a, b in zip([0, *values], values)]
    return {
        "machine": [sum(1 for a in accounts if not a["is_machine"]), len(accounts)],
        "first_day": steps([a["first_day"] for a in accounts]),
        "degrees": [a["distinct_destinations"] for a in accounts],
        "last_day": [57 - a["last_day"] for a in accounts],
        "idle_days": [a["last_day"] - a["first_day"] + 1 - a["active_days"] for a in accounts],
        "logons": [quantised(a["auth_events"]) for a in accounts],
        "sizes_of_step": [round(65536 * 2 ** (i / 16)) for i in range(16)],
        "computer_degrees": [d for d in computers if d > 0],
        "day_events": [d["auth_events"] for d in days],
        "day_pairs": [d["new_pairs"] for d in fresh],
        "day_accounts": [d["active_identities"] for d in fresh],
        "hour_users": [h["human_events"] for h in hours],
        "hour_machines": [h["machine_events"] for h in hours],
        "red_seconds": steps([r[0] for r in red]),
        "red_accounts": [r[1] for r in red],
        "red_targets": [r[2] for r in red],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cyber1", type=Path, help="the directory with the files of the 58 days")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args()
    wanted = {"lanl-9mo": nine_months()}
    if args.cyber1:
        wanted["lanl-58"] = fifty_eight_days(args.cyber1)
    for name, sections in wanted.items():
        path = HERE / f"{name}.txt.gz"
        text, packed = write(path, sections)
        if args.check:
            # Compares the text, not the bytes: compression libraries differ.
            if not path.exists() or gzip.decompress(path.read_bytes()).decode() != text:
                sys.exit(f"{path} is not what derive.py makes of the data; run it without --check and look at the difference")
            print(f"{path.name} is what the data says")
            continue
        path.write_bytes(packed)
        print(f"{path.name}: {len(packed):,} bytes")


if __name__ == "__main__":
    main()
