"""Amazon's own Kinesis Client Library (KCL) in Java, 2.7.2 and 3.5.1: it reads what we send, and continues from our table of
leases as we do from its."""

import gzip
import hashlib
import json
import os
import signal

import pytest

from authpulse import EXCERPT, STOP_SECONDS, TIMEOUT_SECONDS, refused, run, start
from emulator import NodeKinesis
from fleet import until
from kcl import DynamoDb, Worker
from kinesis_records import items, shards, stored, user_records
from read_lake import CURATED, REJECTED, TABLES, Lake, assert_same

pytestmark = pytest.mark.engines

SHARD_END = "SHARD_END"
CONFIG = """\
[store]
roll_rows = 300
roll_age = 0.1
commit_interval = 0.1
[workers]
follow_interval = 0.1
lease_duration = 1
lease_scan = 0.2
"""
# The service takes a few events of an aggregate at a time, so that it can be stopped in the middle of one.
SLOW = CONFIG.replace("roll_rows = 300", "roll_rows = 11") + "[run]\nread_records = 11\n"


@pytest.fixture(scope="module")
def kinesis(tmp_path_factory):
    """kinesis-local beside DynamoDB Local: conditions on leases are checked by Amazon's own code."""
    dynamodb = DynamoDb(tmp_path_factory.mktemp("dynamodb"))
    running = NodeKinesis("kinesis-local", dynamodb)
    yield running
    running.stop()
    dynamodb.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Events of the LANL set, with names beyond ASCII and lines that are no events between; whole, and in two parts."""
    place = tmp_path_factory.mktemp("kcl")
    lines = []
    for n, line in enumerate(gzip.decompress(EXCERPT.read_bytes()).splitlines()):
        lines.append(line)
        if n % 50 == 0:
            time, name = int(line.split(b",")[0]), ["Zoë", "名前", 'a "b" \\ c', "🦀" * 40][n // 50 % 4]
            event = {"time": time, "user": name, "computer": f"C{n}"}
            lines.append(json.dumps(event, ensure_ascii=n % 100 == 0).encode())
            lines.append(b"no event, number %d" % n)
    half = len(lines) // 2
    for name, some in {"whole": lines, "first": lines[:half], "second": lines[half:]}.items():
        (place / f"{name}.txt").write_bytes(b"".join(line + b"\n" for line in some))
    (place / "config.toml").write_text(CONFIG)
    (place / "slow.toml").write_text(SLOW)
    return place


class Workers:
    """Workers that end when the test does, however it ends."""

    def __init__(self, place, kinesis):
        self._place, self._kinesis, self._processes = place, kinesis, []

    def kcl(self, library, stream, application, *words):
        """Starts a worker of Amazon's KCL."""
        worker = Worker(library, stream, application, "theirs", self._place, self._kinesis, *words)
        self._processes.append(worker.process)
        return worker

    def ours(self, *words):
        log = (self._place / "ours.log").open("ab")
        self._processes.append(start(*words, env={**os.environ, **self._kinesis.env}, stdout=log, stderr=log))
        return self._processes[-1]

    def end(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def workers(place, kinesis):
    workers = Workers(place, kinesis)
    yield workers
    workers.end()


def lines_of(place, *names):
    return [line for name in names for line in (place / f"{name}.txt").read_bytes().splitlines()]


def sent(line):
    """The partition key and data of a line, by docs/semantics.md."""
    if line.startswith(b"{"):
        return json.loads(line)["user"], line
    if line.startswith(b"no event"):
        return hashlib.sha256(line).hexdigest(), line
    time, user, computer = line.decode().split(",")
    return user, b'{"time":%d,"user":"%s","computer":"%s"}' % (int(time), user.encode(), computer.encode())


def by_key(records):
    """Each key's data, in order."""
    found = {}
    for key, data in records:
        found.setdefault(key, []).append(data)
    return found


def expect_once(what, *parts):
    """Checks that the parts, one after another, are the lines: nothing twice, nothing missing, every key in its order."""
    got = {}
    for part in parts:
        for key, data in by_key(part).items():
            got.setdefault(key, []).extend(data)
    wanted = by_key(map(sent, what))
    wrong = [key for key in got.keys() | wanted.keys() if got.get(key) != wanted.get(key)]
    counts = [sum(map(len, each.values())) for each in (wanted, got)]
    example = {key: (wanted.get(key, [])[:3], got.get(key, [])[:3]) for key in sorted(wrong)[:2]}
    assert not wrong, f"{len(wrong)} of {len(wanted)} keys differ; {counts} records wanted and got; {example}"


def make(kinesis, name, shards):
    run("stream", "create", "--stream", f"kinesis:{name}", "--shards", shards, env=kinesis.env)


def replay(kinesis, place, stream, name):
    """Sends the file in aggregates of some hundred events."""
    words = ["--stream", f"kinesis:{stream}", "--max", "--batch-size", 400, "--progress", place]
    return run("replay", "--input", place / f"{name}.txt", *words, env=kinesis.env)


def consume(place, stream, application, *words, config="config.toml"):
    lake = ["--lake", place / f"{application}-lake", "--config", place / config]
    return ["consume", "--stream", f"kinesis:{stream}", "--app", application, *lake, *words]


def split(kinesis, name):
    run("stream", "split", "--stream", f"kinesis:{name}", shards(kinesis, name)[0]["ShardId"], env=kinesis.env)


def given(worker):
    return [(each.key, each.data) for each in worker.delivered()]


def landed(lake):
    return [(row["partition_key"], row["payload"]) for row in lake.raw()]


def ends(kinesis, name):
    """The checkpoint of each shard that is read to its end."""
    last = {}
    for shard, record in stored(kinesis, name):
        last[shard["ShardId"]] = (int(record["SequenceNumber"]), len(user_records([(shard, record)])) - 1)
    for shard in shards(kinesis, name):
        if "EndingSequenceNumber" in shard["SequenceNumberRange"]:
            last[shard["ShardId"]] = SHARD_END
    return last


def leases(kinesis, application):
    """The table of leases; empty if there is none yet."""
    try:
        return items(kinesis, application)
    except kinesis.client("dynamodb").exceptions.ResourceNotFoundException:
        return {}


def checkpoint(lease):
    at = lease["checkpoint"]["S"]
    return (int(at), int(lease["checkpointSubSequenceNumber"]["N"])) if at.isdigit() else at


def checkpoints(kinesis, application):
    """The checkpoints of all leases, without other items of the table."""
    table = leases(kinesis, application)
    return {key: checkpoint(item) for key, item in table.items() if "leaseCounter" in item}


def within_an_aggregate(kinesis, name, at):
    """Whether a checkpoint lies before the last event of its record."""
    inner = {}
    for shard, record in stored(kinesis, name):
        inner[int(record["SequenceNumber"])] = len(user_records([(shard, record)]))
    numbers = [each for each in at.values() if isinstance(each, tuple)]
    return any(sub < inner[sequence] - 1 for sequence, sub in numbers)


def read_to_the_end(worker, kinesis, name, application):
    wanted = ends(kinesis, name)
    worker.until("all is read", lambda: wanted.items() <= checkpoints(kinesis, application).items())
    worker.stop()


def rest_of(lines, delivered):
    """The lines that are left after the first ones of each key were delivered."""
    done, rest = {key: len(data) for key, data in by_key(delivered).items()}, []
    for line in lines:
        key, _ = sent(line)
        done[key] = done.get(key, 0) - 1
        if done[key] < 0:
            rest.append(line)
    return rest


def expect_the_rest(place, lake, lines, delivered):
    """Checks that a lake holds what a KCL left, and nothing else: records as received, and the rows that a backfill makes of them."""
    expect_once(lines, delivered, landed(Lake(place / lake)))
    run("verify", "--lake", place / lake, "--config", place / "config.toml")
    rest = place / f"{lake}-rest.txt"
    rest.write_bytes(b"".join(line + b"\n" for line in rest_of(lines, delivered)))
    run("backfill", "--input", rest, "--lake", place / f"{lake}-file", "--config", place / "config.toml")
    streamed, filed = Lake(place / lake), Lake(place / f"{lake}-file")
    for table in TABLES:
        assert_same(filed.comparable(table, payload=False), streamed.comparable(table, payload=False), table)
    assert len(streamed.rows(CURATED)) > 1000 and streamed.rows(REJECTED)


@pytest.fixture(scope="module")
def whole(kinesis, place):
    """A stream of two shards with everything in it."""
    make(kinesis, "whole", 2)
    replay(kinesis, place, "whole", "whole")
    return "whole"


@pytest.mark.parametrize("library", ["kcl2", "kcl3"])
def test_a_kcl_reads_what_we_aggregate(workers, kinesis, place, whole, library):
    lines = lines_of(place, "whole")
    assert len(stored(kinesis, whole)) < len(lines) / 50
    worker = workers.kcl(library, whole, f"read-{library}")
    read_to_the_end(worker, kinesis, whole, f"read-{library}")
    expect_once(lines, given(worker))


def test_we_continue_where_kcl_2_stopped(workers, kinesis, place, whole):
    lines = lines_of(place, "whole")
    worker = workers.kcl("kcl2", whole, "theirs", "--stop-after", str(len(lines) // 2 + 7))
    worker.wait()
    assert within_an_aggregate(kinesis, whole, checkpoints(kinesis, "theirs"))
    run(*consume(place, whole, "theirs", "--seal"), env=kinesis.env)
    expect_the_rest(place, "theirs-lake", lines, given(worker))


@pytest.mark.parametrize("where", ["before the split", "behind the split", "behind the split, its parent forgotten"])
def test_we_continue_where_kcl_2_stopped_around_a_split(workers, kinesis, place, where):
    name = f"theirs-{where.replace(' ', '-').replace(',', '')}"
    first, second = lines_of(place, "first"), lines_of(place, "second")
    enough = len(first) // 2 + 7 if where == "before the split" else len(first) + len(second) // 2 + 7
    make(kinesis, name, 1)
    # Of a split stream, kinesis-local shows a new application the children together with the parent, which the KCL refuses.
    worker = workers.kcl("kcl2", name, name, "--stop-after", str(enough))
    worker.until("its lease", lambda: "leaseOwner" in next(iter(leases(kinesis, name).values()), {}))
    replay(kinesis, place, name, "first")
    split(kinesis, name)
    replay(kinesis, place, name, "second")
    worker.wait()
    at = checkpoints(kinesis, name)
    parent = shards(kinesis, name)[0]["ShardId"]
    if where == "before the split":
        assert at[parent] != SHARD_END
    else:
        assert at[parent] == SHARD_END and len(at) == 3
        assert set(items(kinesis, name)[parent]["childShardIds"]["SS"]) == set(at) - {parent}
    assert within_an_aggregate(kinesis, name, at)
    if where.endswith("forgotten"):
        # So does the KCL five minutes after its start, once the children are begun.
        kinesis.client("dynamodb").delete_item(TableName=name, Key={"leaseKey": {"S": parent}})
    run(*consume(place, name, name, "--seal"), env=kinesis.env)
    expect_the_rest(place, f"{name}-lake", first + second, given(worker))


def part_of(place, name, service, count):
    """Lets the service read until so many records are in its lake, and stops it; returns what is there then."""
    lake = Lake(place / f"{name}-lake")
    until(lambda: len(lake.raw()) >= count, f"{count} records in the lake", TIMEOUT_SECONDS, service)
    service.send_signal(signal.SIGTERM)
    assert service.wait(STOP_SECONDS) == 0
    return landed(lake)


@pytest.mark.parametrize("library", ["kcl2", "kcl3"])
@pytest.mark.parametrize("resharded", [False, True], ids=["plain", "split"])
def test_a_kcl_continues_where_we_stopped(workers, kinesis, place, library, resharded):
    name = f"ours-{library}-{'split' if resharded else 'plain'}"
    lines = lines_of(place, "first", "second")
    make(kinesis, name, 1 if resharded else 2)
    words = consume(place, name, name, config="slow.toml")
    service = workers.ours(*words)
    replay(kinesis, place, name, "first")
    if resharded:
        split(kinesis, name)
    replay(kinesis, place, name, "second")
    before = part_of(place, name, service, len(lines_of(place, "first")) + 200)
    while not within_an_aggregate(kinesis, name, checkpoints(kinesis, name)):
        before = part_of(place, name, workers.ours(*words), len(before) + 20)
    table = items(kinesis, name)
    assert not any("leaseOwner" in lease for lease in table.values()), "whoever comes need not wait"
    if resharded:
        parent = shards(kinesis, name)[0]["ShardId"]
        assert checkpoint(table[parent]) == SHARD_END and len(table[parent]["childShardIds"]["SS"]) == 2
    assert len(before) < len(lines) - 200, "the service had read too much to say anything"
    worker = workers.kcl(library, name, name)
    read_to_the_end(worker, kinesis, name, name)
    expect_once(lines, before, given(worker))


def test_a_table_that_kcl_3_leads_is_refused_until_it_stops(workers, kinesis, place):
    make(kinesis, "led", 1)
    replay(kinesis, place, "led", "first")
    worker = workers.kcl("kcl3", "led", "led")
    worker.until("it leads and reads", lambda: "Leader" in leases(kinesis, "led") and worker.delivered())
    names = ["a living worker of KCL 3 .'theirs'. assigns these leases", "stop the KCL application first"]
    refused(*consume(place, "led", "led", "--seal"), env=kinesis.env, names=names)
    read_to_the_end(worker, kinesis, "led", "led")
    replay(kinesis, place, "led", "second")
    # Other items that KCL 3 keeps in the table stay, and are not taken for leases.
    others = {key: item for key, item in items(kinesis, "led").items() if "leaseCounter" not in item}
    assert "Leader" not in others and len(others) >= 2
    run(*consume(place, "led", "led", "--seal"), env=kinesis.env)
    expect_the_rest(place, "led-lake", lines_of(place, "first", "second"), given(worker))
    assert {key: item for key, item in items(kinesis, "led").items() if "leaseCounter" not in item} == others
