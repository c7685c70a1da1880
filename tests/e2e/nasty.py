"""Input that is as bad as it can be without breaking the promise that every way into a lake gives the same rows.

That promise holds if nothing comes late or from the future and each user's events come in order of time. So users get in
each other's way (up to `DISORDER` seconds, below the tolerance of 300) but never in their own, and every quiet time that
makes events wait is followed by enough events for each shard to accept them. Everything else may be broken.
"""

import json
import random
from datetime import datetime, timedelta

BASE = datetime(2015, 1, 1)
DAY = 86400
DISORDER = 120
OVERLONG = b"1,U1," + b"x" * (1 << 20)

# Records that are events by no reading of the contract, each on a line of its own.
INVALID = [
    b"junk",
    b"1,2",
    b"1,2,3,4",
    b",,",
    b"0,U1,C1",
    b"-1,U1,C1",
    b"+1,U1,C1",
    b"1.5,U1,C1",
    b"1e3,U1,C1",
    b"0000000000001,U1,C1",  # thirteen digits
    b"999999999999,U1,C1",  # twelve, beyond the year 9999
    b"5,,C1",
    b"5,U1,",
    b"5, \t,C1",
    b"5,U\x001,C1",
    b"5,U\xc2\x851,C1",  # U+0085, a control character
    b"5,U\xff1,C1",
    b"5,\xed\xa0\x80,C1",  # an encoded surrogate
    b"5," + b"u" * 257 + b",C1",
    b"5,U1," + "é".encode() * 129,
    b"\xef\xbb\xbf5,U1,C1",  # a mark that is not at the start of the file
    "\u0665,U1,C1".encode(),  # a digit, but not in ASCII
    b"1420070405000,U1,C1",  # milliseconds
    b"2015-01-01T00:00:05,U1,C1",
    b"2015-01-01  00:00:05Z,U1,C1",
    b"2015-01-01T00:00:05 +0000,U1,C1",
    b"2015-01-01T00:00:05+00,U1,C1",
    b"2015-01-01T00:00:05,5Z,U1,C1",  # a comma separates fields
    b"2015-01-01T00:00:60Z,U1,C1",
    b"2015-02-29T00:00:05Z,U1,C1",
    b"0000-01-01T00:00:05Z,U1,C1",
    b"0001-01-01T00:00:05+01:00,U1,C1",
    b"{",
    b"{}",
    b'{"time":5,"user":"U1"}',
    b'{"time":5.0,"user":"U1","computer":"C1"}',
    b'{"time":5e0,"user":"U1","computer":"C1"}',
    b'{"time":null,"user":"U1","computer":"C1"}',
    b'{"time":5,"user":"U1","computer":"C1","user":"U2"}',
    b'{"time":5,"user":"U1","computer":"C1","\\u0075ser":"U2"}',
    b'{"time":5,"user":"U1","computer":"C1","event_id":null}',
    b'{"time":5,"user":"U1","computer":"C1","event_id":""}',
    b'{"time":5,"user":"\\ud800","computer":"C1"}',
    b'{"time":5,"user":"U1","computer":"C1"} x',
    b'{"time":5,"user":"U1","computer":"C1","more":01}',
    b'{"time":5,"user":"U1","computer":"C1","deep":' + b"[" * 101 + b"]" * 101 + b"}",
    b'{"time":5,"user":7,"computer":"C1"}',
    b'{"time":NaN,"user":"U1","computer":"C1"}',
    b'{"time":5,"user":"U\xff","computer":"C1"}',
    b'{"time":5,"user":"U1","computer":"C\t1"}',
    b'{"time":5,"us\xffer":"U1","computer":"C1"}',
    b'{"time":5,"user":"U1","computer":"C1","more":\xff}',
    b'{"time":5,"user":"U1","computer":"C1","more":nan}',
    b'{"time":5,"user":"U1","computer":"C1","more":"\\"}',
]

# What a record may hold in keys that nothing reads.
UNREAD = [b',"x":"Caf\xe9"', b',"\xff":{"\t":"\x00"}', b',"x":[NaN,-Infinity]', b',"x":"\\x41\\"\\u12"', b',"user\xff":"\\ud800"']


def write(path, seed=1, users=30, days=4, events=6000):
    """Writes the file; returns how many of its lines are (events, duplicates, invalid)."""
    rng = random.Random(seed)
    names = [f"U{n}" for n in range(users - 6)] + ["Ünïcødé", "用户", 'quo"te', "back\\slash", "a b", "$ANONYMOUS@DOM1"]
    hosts = [f"C{n}" for n in range(60)] + ["сервер", 'C"', "C\\", "c d"]
    arrivals = []
    duplicates = 0
    for day in range(days):
        begin = day * DAY + 7 * 3600 + rng.randrange(3600)
        times = sorted(begin + rng.randrange(1, 11 * 3600) for _ in range(events // days))
        # The morning rush: everyone logs on within a minute, so that what a shard holds back after the night goes on.
        rush = [(begin - 60 + n % 50, user, k) for k in range(10) for n, user in enumerate(names)]
        for time, user, k in rush:
            arrivals.append((time * 1000 + k, time, user, rng.choice(hosts)))
        delay = {user: rng.randrange(DISORDER) for user in names}
        attacker = rng.choice(names)
        for time in times:
            user = rng.choice(names)
            host = hosts[min(int(rng.expovariate(0.09)), len(hosts) - 1)]
            arrivals.append(((time + delay[user]) * 1000, time, user, host))
            if rng.random() < 0.004:  # A burst, or a walk through the network.
                for step in range(rng.choice([12, 60])):
                    host = rng.choice(hosts)
                    arrivals.append(((time + delay[attacker]) * 1000 + step, time, attacker, host))
    arrivals = in_order_per_user(arrivals)

    total, seen = 0, {}
    with open(path, "wb") as out:
        out.write(b"\xef\xbb\xbf")
        invalid = 0
        for number, (_, time, user, host) in enumerate(arrivals):
            line, key = render(rng, time, user, host, number)
            if key in seen:
                duplicates += 1
            seen[key] = True
            total += 1
            end = rng.choice([b"\n", b"\n", b"\r\n"])
            out.write(line + end)
            if rng.random() < 0.02:
                out.write(line + end)
                duplicates += 1
                total += 1
            if rng.random() < 0.01:
                out.write(rng.choice([b"\n", b" \t \n", b"\r\n"]))
            if rng.random() < 0.03:
                out.write(rng.choice(INVALID) + end)
                invalid += 1
        for line in INVALID:
            out.write(line + b"\n")
        out.write(OVERLONG + b"\r\n" + b" " * ((1 << 20) + 1) + b"\n")
        invalid += len(INVALID) + 2
        out.write(b"5,U1")  # the end of the file ends the line
        invalid += 1
    return total - duplicates, duplicates, invalid


# The bytes that a record in Kinesis carries by default, less the longest key.
CARRIED_BYTES = (1 << 20) - 256


def keep_what_kinesis_carries(path):
    """Leaves out the lines that are longer than a record may be."""
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(line for line in lines if len(line) <= CARRIED_BYTES))


def in_order_per_user(arrivals):
    """Sorted by arrival; each user's times are sorted within that user's places."""
    arrivals.sort(key=lambda a: a[0])
    times = {}
    for _, time, user, _ in arrivals:
        times.setdefault(user, []).append(time)
    for each in times.values():
        each.sort(reverse=True)
    return [(at, times[user].pop(), user, host) for at, _, user, host in arrivals]


def render(rng, time, user, host, number):
    """One event in one of the forms it may take, and what its id is made of."""
    stamp = (BASE + timedelta(seconds=time)).strftime("%Y-%m-%dT%H:%M:%S")
    content = (str(time), user, host)
    rfc3339 = (f"{stamp}.000000Z", user, host)
    forms = rng.random()
    if forms < 0.70:
        return f"{time},{user},{host}".encode(), content
    if forms < 0.75:
        return f" 00{time}\t, {user} ,\t{host} ".encode(), content
    if forms < 0.80:
        spelled = [f"{stamp}Z", f"{stamp}z".lower(), f"{stamp}.0+0000".replace("T", " "), f"{stamp}-0000"][number % 4]
        return f"{spelled},{user},{host}".encode(), rfc3339
    if forms < 0.85:
        local = (BASE + timedelta(seconds=time, hours=2)).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{local}.0000009+02:00,{user},{host}".encode(), rfc3339
    if forms < 0.88:
        return json.dumps({"computer": host, "time": time, "user": f" {user}\t", "x": {"user": [1]}}).encode(), content
    if forms < 0.92:
        # Keys that nothing reads are ignored.
        event = json.dumps({"time": f"{stamp},0z", "user": user, "computer": host}).encode()
        return event[:-1] + UNREAD[number % len(UNREAD)] + b"}", rfc3339
    if forms < 0.96:
        event = {"time": str(time), "user": user, "computer": host}
        return json.dumps(event, ensure_ascii=False).encode(), content
    own = f"id-{number}"
    return json.dumps({"time": time, "user": user, "computer": host, "event_id": own}).encode(), (own,)
