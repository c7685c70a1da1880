"""From files through Kinesis into a lake, on an emulator: the rows of the file, whatever is killed; leases as the KCL keeps them."""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time

import pytest

import nasty
from authpulse import EXAMPLES, STOP_SECONDS, TIMEOUT_SECONDS, attempt, refused, run, start
from emulator import Http2Front, NodeKinesis
from fault_proxy import DYNAMODB, KINESIS, S3, FaultProxy
from fleet import terminate, until
from kinesis_records import items, make_lease_table, stored, user_records
from read_lake import REJECTED, TABLES, Lake, assert_same

SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
KILLS = int(os.environ.get("AUTHPULSE_KILLS", "6"))

CONFIG = """\
[store]
roll_rows = 300
roll_age = 0.1
commit_interval = 0.1
snapshot_rows = 900
[workers]
follow_interval = 0.1
lease_duration = 1
lease_scan = 0.2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("kinesis")
    nasty.write(place / "nasty.txt", seed=7, users=40, events=4_000, days=3)
    nasty.keep_what_kinesis_carries(place / "nasty.txt")
    (place / "small.toml").write_text(CONFIG)
    (place / "long-leases.toml").write_text(CONFIG.replace("lease_duration = 1\n", "lease_duration = 60\n"))
    return place


@pytest.fixture(scope="module")
def from_file(place):
    run("backfill", "--input", place / "nasty.txt", "--lake", place / "file")
    return Lake(place / "file")


def make(emulator, name, shards=4):
    told = run("stream", "create", "--stream", f"kinesis:{name}", "--shards", shards, env=emulator.env)
    assert told.stdout.count("open") == shards + 1 and f":stream/{name}'" in told.stdout, told


def replay(emulator, place, name, *words, input="nasty.txt"):
    return run(
        "replay", "--input", place / input, "--stream", f"kinesis:{name}", "--max", "--progress", place, *words, env=emulator.env
    )


def consume(place, name, lake, *words, config="small.toml"):
    source = ["--stream", f"kinesis:{name}", "--app", f"{lake}-app"]
    return ["consume", *source, "--lake", place / lake, "--config", place / config, *words]


def expect_rows_of_the_file(place, from_file, lake):
    run("verify", "--lake", place / lake, "--config", place / "small.toml")
    streamed = Lake(place / lake)
    for table in TABLES:
        ours, theirs = from_file.comparable(table, payload=False), streamed.comparable(table, payload=False)
        assert_same(ours, theirs, f"{table}: file, and {lake}")


def through(emulator, place, way, *words):
    """Sends the file into a stream and reads that into a lake; returns the replay's output."""
    make(emulator, way)
    told = replay(emulator, place, way, *words)
    assert "this input was sent before; nothing was sent again" in replay(emulator, place, way, *words).stdout
    assert re.search(r"a billion like these cost \$[\d.]+ for PUT units and \$[\d.]+ for shards", told.stdout), told
    run(*consume(place, way, way, "--seal"), env=emulator.env)
    return float(re.search(r"([\d.]+) events per PUT unit", told.stdout)[1])


@pytest.fixture(scope="module")
def aggregated(place, emulator):
    """A stream and a lake of that name."""
    return through(emulator, place, "aggregated")


def test_a_stream_gives_the_rows_of_the_file(place, from_file, emulator, aggregated):
    assert aggregated > 50
    expect_rows_of_the_file(place, from_file, "aggregated")


def test_records_of_their_own_give_the_rows_of_the_file(place, from_file, emulator):
    assert through(emulator, place, "plain", "--no-aggregate") == 1.0
    expect_rows_of_the_file(place, from_file, "plain")


def test_amazons_library_reads_what_was_sent_each_event_on_its_shard(place, emulator, aggregated):
    records = stored(emulator, "aggregated")
    lines = [line for line in (place / "nasty.txt").read_bytes().splitlines() if line.strip()]
    found = user_records(records)
    assert len(records) < len(found) / 10 and abs(len(found) - len(lines)) <= 1
    for shard, key, _ in found:
        place_on_ring = int.from_bytes(hashlib.md5(key.encode()).digest())
        range_ = shard["HashKeyRange"]
        assert int(range_["StartingHashKey"]) <= place_on_ring <= int(range_["EndingHashKey"])


def test_the_library_counts_the_records_by_itself(emulator, aggregated):
    found = user_records(stored(emulator, "aggregated"))
    count = subprocess.run(
        [EXAMPLES / "count", "aggregated"], env={**os.environ, **emulator.env}, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert count.returncode == 0, count.stderr
    assert count.stdout.splitlines()[-1] == f"{len(found)} records", count.stdout


def test_the_library_puts_by_itself(emulator):
    make(emulator, "put-alone", shards=2)
    lines = [b"key-%d %d" % (n % 7, n) for n in range(25_000)]
    env = {**os.environ, **emulator.env}
    put = subprocess.run([EXAMPLES / "put", "put-alone"], env=env, input=b"\n".join(lines), capture_output=True, timeout=TIMEOUT_SECONDS)
    assert put.returncode == 0 and b"events per PUT unit" in put.stdout, put
    found = {}
    for _, key, data in user_records(stored(emulator, "put-alone")):
        found.setdefault(key, []).append(data)
    assert found == {f"key-{k}": [line for line in lines if line.startswith(b"key-%d " % k)] for k in range(7)}


def test_a_replay_that_is_killed_goes_on_and_every_user_keeps_its_order(place, emulator, aggregated):
    make(emulator, "killed")
    rng = random.Random(SEED)
    words = ["replay", "--input", place / "nasty.txt", "--stream", "kinesis:killed", "--max", "--batch-size", 97]
    words += ["--progress", place]
    for _ in range(KILLS):
        point = rng.choice(["stream append before", "stream append after"])
        crash = {"AUTHPULSE_CRASH": f"{point}@{rng.randrange(1, 9)}"}
        attempt(*words, env={**emulator.env, **crash}, may_abort=True)
    told = run(*words, env=emulator.env)
    assert "continued after line" in told.stdout
    # A killed replay may repeat its last append, but nothing else.
    seen, order = set(), {}
    for _, key, data in user_records(stored(emulator, "killed")):
        if (key, data) not in seen:
            seen.add((key, data))
            order.setdefault(key, []).append(data)
    sent = {}
    for _, key, data in user_records(stored(emulator, "aggregated")):
        if data not in sent.setdefault(key, []):
            sent[key].append(data)
    assert order == sent


@pytest.fixture
def workers():
    """The processes that a test starts; none stays behind, however the test ends."""
    workers = []
    yield workers
    for worker in workers:
        worker.kill()
        worker.wait()


def logged(workers, log, words, env):
    """Starts another worker, which logs into a file of its own."""
    workers.append(start(*words, env=env, stdout=subprocess.DEVNULL, stderr=log.open("w")))
    workers[-1].log = log


def end(worker, rng):
    """Kills a worker or stops it in order."""
    how = rng.choice([signal.SIGKILL, signal.SIGTERM])
    if how == signal.SIGTERM:
        terminate(worker)
    else:
        worker.kill()
    expected = 0 if how == signal.SIGTERM else -signal.SIGKILL
    assert worker.wait(STOP_SECONDS) == expected, worker.log.read_text()[-3000:]


def all_sent_and_stopped(sending, workers, logs):
    """Waits for the replay's end and stops the workers in order; returns what they logged."""
    assert sending.wait(TIMEOUT_SECONDS) == 0
    for worker in workers:
        terminate(worker)
    for worker in workers:
        assert worker.wait(STOP_SECONDS) == 0, worker.log.read_text()[-3000:]
    text = "\n".join(log.read_text() for log in logs)
    assert "panicked" not in text, text[-3000:]
    return text


def test_consumers_are_killed_and_others_go_on(place, emulator, from_file, workers):
    make(emulator, "workers", shards=6)
    env = {**os.environ, **emulator.env, "AUTHPULSE_LOG": "info", "NO_COLOR": "1"}
    rng = random.Random(SEED)
    logs = []

    def add():
        logs.append(place / f"worker-{len(logs)}.log")
        logged(workers, logs[-1], consume(place, "workers", "workers"), env)

    for _ in range(3):
        add()
    sending = start(
        "replay", "--input", place / "nasty.txt", "--stream", "kinesis:workers", "--rate", 700, "--progress", place, env=env
    )
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.3, 1.2))
        victim = rng.choice(workers)
        end(victim, rng)
        workers.remove(victim)
        add()
    all_sent_and_stopped(sending, workers, logs)
    run(*consume(place, "workers", "workers", "--seal"), env=emulator.env)
    expect_rows_of_the_file(place, from_file, "workers")


def test_fan_out_gives_the_rows_of_the_file(place, from_file, emulator, aggregated):
    """Another application has read the stream by polling, into a lake of its own."""
    env = {**emulator.env, "AUTHPULSE_LOG": "info"}
    words = ["consume", "--stream", "kinesis:aggregated", "--app", "fan-out", "--lake", place / "fan-out", "--config", place / "small.toml"]
    told = run(*words, "--reading", "fan-out", "--seal", env=env)
    assert "by enhanced fan-out, as its consumer fan-out" in told.stderr
    expect_rows_of_the_file(place, from_file, "fan-out")
    described = run("stream", "describe", "--stream", "kinesis:aggregated", env=env)
    assert "consumers of enhanced fan-out: fan-out (ACTIVE)" in described.stdout
    run("stream", "deregister", "--stream", "kinesis:aggregated", "--app", "fan-out", env=env)
    assert "no consumers of enhanced fan-out" in run("stream", "describe", "--stream", "kinesis:aggregated", env=env).stdout
    names = ["has no consumer fan-out"]
    refused("stream", "deregister", "--stream", "kinesis:aggregated", "--app", "fan-out", env=env, names=names)
    refused("consume", "--stream", f"local:{place}/x", "--lake", place / "x", "--reading", "polling", names=["in Kinesis"])


@pytest.mark.parametrize("which", ["emulator", "kinesis_local"])
def test_fan_out_and_polling_take_turns_under_kills(place, from_file, which, request, workers):
    """Workers come and go while the stream fills. Each reads in its own way, and shards pass from one way to the other."""
    kinesis, name = request.getfixturevalue(which), f"turns-{which.replace('_', '-')}"
    make(kinesis, name, shards=3)
    # Registered and active before any worker reads: otherwise workers that are killed soon may never subscribe.
    run(*consume(place, name, name, "--reading", "fan-out", "--until-caught-up"), env=kinesis.env)
    env = {**os.environ, **kinesis.env, "AUTHPULSE_LOG": "info", "NO_COLOR": "1"}
    rng = random.Random(SEED)
    logs = []

    def add():
        way = ["fan-out", "polling"][len(logs) % 2]
        logs.append(place / f"{name}-{len(logs)}.log")
        words = consume(place, name, name, "--reading", way)
        logged(workers, logs[-1], words, env)

    add()
    add()
    sending = start(
        "replay", "--input", place / "nasty.txt", "--stream", f"kinesis:{name}", "--rate", 400, "--progress", place, env=env
    )
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.5, 1.5))
        end(workers.pop(0), rng)
        add()
    text = all_sent_and_stopped(sending, workers, logs)
    assert "by polling" in text and "by enhanced fan-out" in text and " subscribed " in text
    run(*consume(place, name, name, "--reading", "fan-out", "--seal"), env=kinesis.env)
    expect_rows_of_the_file(place, from_file, name)


def test_fan_out_by_http_2_while_the_stream_fills(place, from_file, kinesis_local, workers, tmp_path):
    """As in Kinesis: all subscriptions of a worker share a connection, and the producer's calls use HTTP/2 as well."""
    front = Http2Front(kinesis_local, tmp_path)
    try:
        make(front, "http-2", shards=3)
        log = place / "http-2.log"
        env = {**os.environ, **front.env, "AUTHPULSE_LOG": "info,authpulse_kinesis=debug", "NO_COLOR": "1"}
        words = consume(place, "http-2", "http-2", "--reading", "fan-out")
        logged(workers, log, words, env)
        until(lambda: log.read_text().count(" subscribed ") >= 3, "a subscription for each shard", process=workers[0])
        send = ["replay", "--input", place / "nasty.txt", "--stream", "kinesis:http-2", "--rate", 1_000, "--progress", place]
        text = all_sent_and_stopped(start(*send, env=env, stdout=subprocess.DEVNULL), workers, [log])
        pushed = sum(int(n) for n in re.findall(r"an event of the subscription .*records=(\d+)", text))
        # Some are found when the tip is looked for.
        assert pushed > len(stored(kinesis_local, "http-2")) / 2, text[-3000:]
        of_session = {}
        for session, operation in front.calls():
            of_session.setdefault(session, []).append(operation)
        assert any(operations.count("SubscribeToShard") >= 3 for operations in of_session.values()), of_session
        run(*consume(place, "http-2", "http-2", "--seal"), env=front.env)
        expect_rows_of_the_file(place, from_file, "http-2")
    finally:
        front.stop()


@pytest.mark.parametrize("operation", ["GetRecords", "ListShards"])
def test_a_worker_stops_in_time_though_its_stream_does_not_answer(place, emulator, operation, workers):
    name = f"silent-{operation}"
    make(emulator, name, shards=1)
    proxy = FaultProxy(emulator.endpoint, kinesis=emulator.endpoint)
    log = place / f"{name}.log"
    env = {**os.environ, **proxy.env(emulator), "AUTHPULSE_LOG": "info", "NO_COLOR": "1"}
    worker = start(*consume(place, name, name), env=env, stdout=subprocess.DEVNULL, stderr=log.open("w"))
    workers.append(worker)
    try:
        until(lambda: "working on shard" in log.read_text(), "a worker at work", process=worker)
        hold = proxy.hold(KINESIS, operation)
        hold.wait()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
        assert not hold.passed.is_set()
        assert "leaseOwner" not in items(emulator, f"{name}-app")["shardId-000000000000"]
    finally:
        proxy.stop()


def at_work(place, emulator, proxy, name, words, workers):
    """A worker that has begun with all shards of its stream, and its log."""
    log = place / f"{name}.log"
    env = {**os.environ, **proxy.env(emulator), "AUTHPULSE_LOG": "info", "NO_COLOR": "1"}
    worker = start(*words, env=env, stdout=subprocess.DEVNULL, stderr=log.open("w"))
    workers.append(worker)
    shards = len(emulator.client("kinesis").list_shards(StreamName=name)["Shards"])
    until(lambda: log.read_text().count("working on shard") == shards, "a worker at work", process=worker)
    return worker, log


def test_a_worker_stops_in_time_though_its_leases_cannot_be_reached(place, emulator, workers):
    name = "cut-off"
    make(emulator, name, shards=8)
    proxy = FaultProxy(emulator.endpoint, kinesis=emulator.endpoint)
    try:
        worker, log = at_work(place, emulator, proxy, name, consume(place, name, name, config="long-leases.toml"), workers)
        proxy.cut(DYNAMODB)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
        assert log.read_text().count("could not be given back") == 8, log.read_text()
    finally:
        proxy.stop()


def test_a_worker_whose_store_does_not_answer_ends_in_time_and_says_so(place, emulator, workers):
    """The worker that goes on reads again what this one could not store."""
    name = "mute-store"
    make(emulator, name, shards=1)
    emulator.client("s3").create_bucket(Bucket=name)
    proxy = FaultProxy(emulator.endpoint, kinesis=emulator.endpoint)
    words = ["consume", "--stream", f"kinesis:{name}", "--app", f"{name}-app", "--lake", f"s3://{name}/lake"]
    words += ["--catalog", "glue:mute_store", "--config", place / "small.toml"]
    try:
        worker, log = at_work(place, emulator, proxy, name, words, workers)
        hold = proxy.hold(S3, "PutObject", lambda call: "/journal/" in call.subject)
        replay(emulator, place, name)
        hold.wait()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 1, log.read_text()
        assert "not everything could be stored within 18 s" in log.read_text()
    finally:
        proxy.stop()
    run(*words, "--seal", env=emulator.env)
    run("verify", *words[words.index("--lake") :], env=emulator.env)


def test_leases_are_those_of_the_kcl(place, emulator, aggregated):
    leases = items(emulator, "aggregated-app")
    shards = {shard["ShardId"]: shard for shard in emulator.client("kinesis").list_shards(StreamName="aggregated")["Shards"]}
    assert set(leases) == set(shards)
    last = {shard["ShardId"]: record for shard, record in stored(emulator, "aggregated")}
    for name, item in leases.items():
        assert "leaseOwner" not in item, "a clean stop gives leases back"
        assert item["entityType"] == {"S": "LEASE"} and int(item["leaseCounter"]["N"]) > 0
        assert item["startingHashKey"]["S"] == shards[name]["HashKeyRange"]["StartingHashKey"]
        assert item["endingHashKey"]["S"] == shards[name]["HashKeyRange"]["EndingHashKey"]
        assert int(item["checkpoint"]["S"]) == int(last[name]["SequenceNumber"])
        inner = len(user_records([(None, last[name])]))
        assert int(item["checkpointSubSequenceNumber"]["N"]) == inner - 1
        assert item["ownerSwitchesSinceCheckpoint"] == {"N": "0"}


def test_a_table_of_the_kcl_is_continued(place, emulator):
    """Leases as KCL 2.7 leaves them: one shard is read by half, one not at all."""
    make(emulator, "continued", shards=2)
    replay(emulator, place, "continued", input="nasty.txt")
    records = stored(emulator, "continued")
    dynamodb = emulator.client("dynamodb")
    make_lease_table(emulator, "continued-app")
    first = [record for shard, record in records if shard["ShardId"].endswith("0")]
    half = first[len(first) // 2]
    inner = len(user_records([(None, half)]))
    assert inner > 3
    for n, checkpoint, sub in ((0, half["SequenceNumber"], 1), (1, "TRIM_HORIZON", 0)):
        dynamodb.put_item(
            TableName="continued-app",
            Item={
                "leaseKey": {"S": f"shardId-{n:012d}"},
                "leaseCounter": {"N": "17"},
                "leaseOwner": {"S": "kcl-worker"},
                "checkpoint": {"S": checkpoint},
                "checkpointSubSequenceNumber": {"N": str(sub)},
                "ownerSwitchesSinceCheckpoint": {"N": "0"},
            },
        )
    run(*consume(place, "continued", "continued", "--seal"), env=emulator.env)
    raw = Lake(place / "continued").raw()
    got = [(r["shard_id"], int(r["sequence_number"]), r["sub_sequence_number"]) for r in raw]
    wanted = []
    for shard, record in records:
        for sub in range(len(user_records([(None, record)]))):
            at = (shard["ShardId"], int(record["SequenceNumber"]), sub)
            if not at[0].endswith("0") or at[1:] > (int(half["SequenceNumber"]), 1):
                wanted.append(at)
    assert got == sorted(wanted)


def test_a_living_leader_of_kcl_3_is_refused(place, emulator):
    import threading

    make(emulator, "led", shards=1)
    dynamodb = emulator.client("dynamodb")
    make_lease_table(emulator, "led-app")
    stop = threading.Event()

    def beat(n=0):
        while True:
            item = {"leaseKey": "Leader", "entityType": "LEADER", "ownerName": "w8", "recordVersionNumber": str(n)}
            dynamodb.put_item(TableName="led-app", Item={key: {"S": value} for key, value in item.items()})
            n += 1
            if stop.wait(0.5):
                return

    leader = threading.Thread(target=beat)
    leader.start()
    try:
        while not items(emulator, "led-app"):
            time.sleep(0.05)
        names = ["a living worker of KCL 3 .'w8'. assigns these leases", "stop the KCL application first"]
        refused(*consume(place, "led", "led", "--seal"), env=emulator.env, names=names)
    finally:
        stop.set()
        leader.join()


def test_where_reading_begins_is_kept(place, emulator):
    make(emulator, "begun", shards=1)
    client = emulator.client("kinesis")
    put = lambda n: client.put_record(StreamName="begun", PartitionKey="U1", Data=json.dumps({"time": n, "user": "U1", "computer": "C1"}))
    users = lambda: sorted(json.loads(r["payload"])["time"] for r in Lake(place / "begun").raw())
    put(1)
    run(*consume(place, "begun", "begun", "--start", "latest", "--until-caught-up"), env=emulator.env)
    assert users() == [], "what lay there before is not read"
    put(2)
    put(3)
    run(*consume(place, "begun", "begun", "--start", "latest", "--until-caught-up"), env=emulator.env)
    assert users() == [2, 3], "what came while nobody read is"
    put(4)
    run(*consume(place, "begun", "begun", "--until-caught-up"), env=emulator.env)
    assert users() == [2, 3, 4]
    refused(*consume(place, "begun", "x", "--start", "noon"), env=emulator.env, names=["trim-horizon, latest or a time"])


def test_errors_name_what_to_do(place, emulator, aggregated, tmp_path):
    env = emulator.env
    lake = ["--lake", tmp_path / "none"]
    refused("consume", "--stream", "kinesis:nowhere", "--app", "some", *lake, env=env, names=["authpulse stream create"])
    refused("consume", "--stream", "kinesis:aggregated", *lake, env=env, names=["name it with --app"])
    refused("consume", "--stream", "kinesis:aggregated", "--app", "a b", *lake, env=env, names=["3 to 255 letters"])
    refused("consume", "--stream", "kinesis:a b", "--app", "some", *lake, env=env, names=["give kinesis:NAME"])
    words = ["replay", "--input", place / "nasty.txt", "--stream", "kinesis:aggregated"]
    refused(*words, "--close", env=env, names=["cannot be closed"])
    (tmp_path / "long.txt").write_bytes(b"1,U1," + b"x" * (1 << 20) + b"\n")
    words = ["replay", "--input", tmp_path / "long.txt", "--stream", "kinesis:aggregated", "--max"]
    refused(*words, env=env, names=["UpdateMaxRecordSize"])
    refused("stream", "close", "--stream", "kinesis:aggregated", env=env, names=["cannot be closed"])
    run("stream", "create", "--stream", "kinesis:short-lived", "--shards", 1, env=env)
    refused("stream", "delete", "--stream", "kinesis:short-lived", env=env, names=["--yes"])
    run("stream", "delete", "--stream", "kinesis:short-lived", "--yes", env=env)
    refused("stream", "describe", "--stream", "kinesis:short-lived", env=env, names=["authpulse stream create"])


def test_a_stream_that_is_being_resharded_is_waited_for(kinesis_local):
    make(kinesis_local, "busy", shards=2)
    kinesis = kinesis_local.client("kinesis")
    kinesis.split_shard(StreamName="busy", ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**126))
    assert kinesis.describe_stream_summary(StreamName="busy")["StreamDescriptionSummary"]["StreamStatus"] == "UPDATING"
    told = run("stream", "split", "--stream", "kinesis:busy", "shardId-000000000001", env=kinesis_local.env)
    assert told.stdout.count("closed") == 2, told


@pytest.fixture(scope="module")
def tolerant(place):
    """The replay sends three days in nine seconds, so records sent again after a reshard are late by minutes of event time."""
    (place / "tolerant.toml").write_text(CONFIG + "[engine]\ntolerance = 3500\n")
    run("backfill", "--input", place / "nasty.txt", "--lake", place / "tolerant-file", "--config", place / "tolerant.toml")
    return Lake(place / "tolerant-file")


# kinesis-local does not end a subscription with its shard: asking a quiet one for its tip finds the end.
@pytest.fixture(scope="module", params=["kinesis-local polling", "kinesis-local fan-out", "kinesalite polling"])
def resharding(request, emulator):
    name, reading = request.param.split()
    kinesis = NodeKinesis(name, emulator)
    kinesis.reading = reading
    yield kinesis
    kinesis.stop()


def test_splits_and_merges_under_way(place, tolerant, resharding):
    """A producer and two consumers go on while their shards are split and merged."""
    name = f"{resharding.name}-{resharding.reading}"
    env = {**os.environ, **resharding.env, "AUTHPULSE_LOG": "info", "NO_COLOR": "1"}
    make(resharding, name, shards=2)
    logs = [place / f"{name}-{n}.log" for n in range(2)]
    words = consume(place, name, name, "--reading", resharding.reading, config="tolerant.toml")
    workers = [start(*words, env=env, stdout=subprocess.DEVNULL, stderr=log.open("w")) for log in logs]
    sending = start(
        "replay", "--input", place / "nasty.txt", "--stream", f"kinesis:{name}", "--rate", 700, "--progress", place, env=env
    )
    shards = lambda: resharding.client("kinesis").list_shards(StreamName=name)["Shards"]
    splits = merges = 0
    rng = random.Random(SEED)
    while sending.poll() is None and splits + merges < 5:
        open_ = [s for s in shards() if "EndingSequenceNumber" not in s["SequenceNumberRange"]]
        open_.sort(key=lambda s: int(s["HashKeyRange"]["StartingHashKey"]))
        n = rng.randrange(len(open_) - 1)
        if splits <= merges:
            told = attempt("stream", "split", "--stream", f"kinesis:{name}", open_[n]["ShardId"], env=env)
            splits += told.code == 0
        else:
            told = attempt("stream", "merge", "--stream", f"kinesis:{name}", open_[n]["ShardId"], open_[n + 1]["ShardId"], env=env)
            merges += told.code == 0
        assert told.code == 0, told
    assert sending.wait(TIMEOUT_SECONDS) == 0
    assert splits >= 2 and merges >= 1, "the replay was over too soon to say anything"
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    for worker, log in zip(workers, logs):
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()[-3000:]
    told = run(*words, "--seal", env=env)
    assert "panicked" not in "".join(log.read_text() for log in logs)
    run("verify", "--lake", place / name, "--config", place / "tolerant.toml")
    # A record that came to another shard is sent again, so it may be there twice: once as a dead letter.
    lake = Lake(place / name)
    for table in TABLES:
        ours, theirs = (each.comparable(table, payload=False) for each in (tolerant, lake))
        if table == REJECTED:
            reasons = {row["reason"] for row in lake.rows(REJECTED)}
            assert {"invalid", "duplicate"} <= reasons <= {"invalid", "duplicate", "misrouted"}, told
            continue
        assert_same(ours, theirs, f"{table}: file, and {name}")
    # Parents ended before their children: the KCL's way of saying so.
    leases, parents = items(resharding, f"{name}-app"), {}
    for shard in shards():
        for parent in (shard.get("ParentShardId"), shard.get("AdjacentParentShardId")):
            if parent:
                parents.setdefault(parent, set()).add(shard["ShardId"])
    assert parents
    for parent, children in parents.items():
        assert leases[parent]["checkpoint"] == {"S": "SHARD_END"}
        assert set(leases[parent]["childShardIds"]["SS"]) == children
        for child in children:
            assert parent in leases[child]["parentShardId"]["SS"]
