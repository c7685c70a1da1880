"""What operators do by hand: leases that are looked at, released and reset; dead letters that are put again; a replay that looks live;
a service that is told to end twice, or that loses one of its tasks."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from datetime import datetime, timedelta, timezone

import pytest

from authpulse import EXCERPT, STOP_SECONDS, TIMEOUT_SECONDS, refused, run, start
from fleet import Fleet, owners, until
from read_lake import CURATED, REJECTED, Lake

# What takes a second in other tests lasts a minute here, so that nothing moves unless the operator moves it.
SLOW = """\
[store]
roll_age = 0.1
commit_interval = 0.1
[workers]
follow_interval = 0.1
lease_duration = 60
lease_scan = 0.2
"""
QUICK = SLOW.replace("lease_duration = 60", "lease_duration = 2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("operate")
    (place / "slow.toml").write_text(SLOW)
    (place / "quick.toml").write_text(QUICK)
    return place


def listed(*words, **kwargs):
    return {lease["shard"]: lease for lease in json.loads(run("leases", "list", *words, "--json", **kwargs).stdout)["leases"]}


# --- leases of an embedded stream ---------------------------------------------------------------------------------


def test_a_hung_worker_is_relieved_by_hand(place):
    stream, lake = place / "hung-stream", place / "hung"
    run("stream", "create", "--stream", f"local:{stream}", "--shards", 2)
    run("replay", "--input", EXCERPT, "--stream", f"local:{stream}", "--max")
    of = ["--stream", f"local:{stream}", "--lake", lake]
    fleet = Fleet(place, stream, ["--lake", lake], place / "slow.toml")
    try:
        hung = fleet.add()
        until(lambda: (stream / "leases.db").exists() and sum(owners(stream).values()) == 2, "two leases")
        journals = lambda: [lease["journal"] for lease in listed(*of).values()]
        until(lambda: all(journals()), "entries of both shards")
        (worker,) = owners(stream)
        leases = listed(*of)
        assert set(leases) == {"shardId-000000000000", "shardId-000000000001"}
        for lease in leases.values():
            assert lease["owner"] == worker and lease["counter"] > 0 and not lease["ended"] and lease["checkpoint"] is None
        told = run("leases", "list", *of).stdout
        assert told.count(f"worker {worker}, counter") == 2 and re.search(r"journal \d+/0 \(entry \d+\)", told), told
        hung.send_signal(signal.SIGSTOP)
        refused("leases", "reset", *of, names=[f"its process holds its lock: {worker}", "--force"])
        refused("leases", "release", *of, "--shard", "shardId-7", names=["no lease of shard 'shardId-7'", "shardId-000000000001"])
        refused("leases", "release", *of, "--worker", "nobody", names=["worker 'nobody' has no lease"])
        # It gets nothing from another worker for a minute.
        other = fleet.add()
        told = run("leases", "release", *of, "--shard", "shardId-000000000000").stdout
        assert f"shardId-000000000000: released, worker {worker} had it" in told and "1 released" in told
        until(lambda: sorted(owners(stream).values()) == [1, 1], "one shard with each")
        told = run("leases", "release", *of, "--worker", worker).stdout
        assert f"shardId-000000000001: released, worker {worker} had it" in told
        until(lambda: list(owners(stream).values()) == [2] and worker not in owners(stream), "both with the other", 30)
        hung.send_signal(signal.SIGCONT)
        fleet.stop(other)
        fleet.stop(hung)
    finally:
        fleet.kill_all()
    told = run("leases", "reset", *of).stdout
    assert "nobody is alive: no lease has an owner" in told and "2 leases removed" in told
    assert len(re.findall(r"this lake goes on after \d+/0 \(entry \d+\)", told)) == 2, told
    assert "that position beats a lease's checkpoint" in told
    assert listed(*of) == {}
    run("consume", *of, "--seal")
    run("verify", "--lake", lake)
    assert len(Lake(lake).rows(CURATED)) == 5000, "each event once, whoever worked on it"


def remove(*names):
    def damage(lake):
        for name in names:
            for path in lake.glob(name):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if names == ("*",):
            lake.rmdir()

    return damage


def made_anew(lake):
    remove("*")(lake)
    run("tables", "create", "--lake", lake)


def without_an_id(lake):
    """Makes the lake like one that was restored from an old copy, or that an older program has created again."""
    marker = json.loads((lake / "lake.json").read_text())
    (lake / "lake.json").write_text(json.dumps({"what": marker["what"], "layout": marker["layout"]}))


GONE = "the lake .* is gone, and the stream .* was read into it"
ANOTHER = "is not the one that the stream .* was read into"
NO_JOURNAL = "has lost its journal.db"


@pytest.mark.parametrize(
    "case, damage, told",
    [
        ("whole", lambda lake: None, None),
        ("deleted", remove("*"), GONE),
        ("emptied", remove("*", ".*"), GONE),
        ("made-anew", made_anew, ANOTHER),
        ("without-id", without_an_id, ANOTHER),
        ("no-journal", remove("journal.db*"), NO_JOURNAL),
        ("only-marker", remove("*.db*", "warehouse", "raw", "staging", "state"), NO_JOURNAL),
        ("empty-journal", lambda lake: (lake / "journal.db").write_bytes(b""), NO_JOURNAL),
        # Both come back: the tables are made from the journal.
        ("no-catalog", remove("catalog.db*"), None),
    ],
)
def test_a_lost_lake_is_not_made_anew_in_silence(place, case, damage, told):
    stream, lake = place / f"lost-{case}-stream", place / f"lost-{case}"
    of = ["--stream", f"local:{stream}", "--lake", lake]
    (place / "few.txt").write_text("7000,U1,C1\n7001,U2,C1\n")
    run("replay", "--input", place / "few.txt", "--stream", f"local:{stream}", "--max")
    run("consume", *of, "--until-caught-up")
    # Several lakes of one stream do not affect each other.
    run("consume", *of[:3], place / f"lost-{case}-other", "--until-caught-up")
    damage(lake)
    content = lambda: sorted(path for path in lake.rglob("*") if not path.name.startswith(".lock")) if lake.exists() else None  # noqa: E731
    there = content()
    if told is None:
        run("consume", *of, "--until-caught-up")
        run("verify", "--lake", lake)
        return
    refused("consume", *of, "--until-caught-up", names=[told])
    assert there == content(), "nothing was made"
    if told == NO_JOURNAL:
        if case != "only-marker":
            refused("status", "--lake", lake, names=[told])
        return
    refused("consume", *of, "--until-caught-up", names=[f"authpulse leases reset --stream local:{stream} --lake {lake}"])
    run("leases", "reset", *of)
    run("consume", *of, "--until-caught-up")
    run("verify", "--lake", lake)


def test_a_lake_and_a_stream_of_before_are_known_from_their_next_start_on(place):
    """Neither has an id or a note of one, but there are leases."""
    stream, lake = place / "of-before-stream", place / "of-before"
    of = ["--stream", f"local:{stream}", "--lake", lake]
    (place / "few.txt").write_text("7000,U1,C1\n7001,U2,C1\n")
    run("replay", "--input", place / "few.txt", "--stream", f"local:{stream}", "--max")
    run("consume", *of, "--until-caught-up")

    def as_before():
        without_an_id(lake)
        with contextlib.closing(sqlite3.connect(stream / "leases.db")) as leases, leases:
            leases.execute("DROP TABLE destinations")

    as_before()
    run("consume", *of, "--until-caught-up")
    with contextlib.closing(sqlite3.connect(stream / "leases.db")) as leases:
        noted = leases.execute("SELECT application, destination FROM destinations").fetchall()
    assert noted == [(f"file://{lake.resolve()}/", json.loads((lake / "lake.json").read_text())["id"])]
    # Deleted before a program noted its id; its leases are there.
    as_before()
    remove("*", ".*")(lake)
    refused("consume", *of, "--until-caught-up", names=[GONE])
    # There is only one lake, so it need not be named.
    assert "leases removed" in run("leases", "reset", *of[:2]).stdout
    run("consume", *of, "--until-caught-up")
    run("consume", *of[:3], place / "of-before-other", "--until-caught-up")
    refused("leases", "reset", *of[:2], names=["name the lake whose leases are meant with --lake", str(place / "of-before-other")])


def test_a_command_line_that_is_none(place):
    stream = f"local:{place / 'none-stream'}"
    run("stream", "create", "--stream", stream)
    refused("leases", "list", "--stream", stream, names=["name the lake whose leases are meant with --lake"])
    refused("leases", "list", "--stream", stream, "--app", "x", names=["--app is for streams in Kinesis"])
    refused("leases", "list", "--stream", "kinesis:x", names=["with --app"])
    refused("leases", "release", "--stream", stream, "--lake", place / "x", names=["--shard", "--worker", "--all"])
    refused("redrive", "--lake", place / "x", "--stream", stream, "--reason", "late", names=["misrouted, failed"])
    refused("redrive", "--lake", place / "x", "--stream", stream, "--since", "today", names=["no day such as"])
    refused("replay", "--input", EXCERPT, "--stream", stream, "--clock", "now", "--max", names=["cannot be used with"])


# --- leases in DynamoDB -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def read(place, emulator):
    """A stream in Kinesis of two shards, read to its tips into a lake of the same name."""
    run("stream", "create", "--stream", "kinesis:operated", "--shards", 2, env=emulator.env)
    words = ["--stream", "kinesis:operated", "--max", "--progress", place]
    run("replay", "--input", EXCERPT, *words, env=emulator.env)
    words = ["--stream", "kinesis:operated", "--app", "operated-app", "--lake", place / "operated"]
    run("consume", *words, "--until-caught-up", env=emulator.env)
    return words


def items(emulator, table):
    return {item["leaseKey"]["S"]: item for item in emulator.client("dynamodb").scan(TableName=table)["Items"]}


def give(emulator, owner):
    """Gives all leases to a worker that is gone."""
    client = emulator.client("dynamodb")
    for shard in items(emulator, "operated-app"):
        values = {":owner": {"S": owner}}
        client.update_item(
            TableName="operated-app",
            Key={"leaseKey": {"S": shard}},
            UpdateExpression="SET leaseOwner = :owner",
            ExpressionAttributeValues=values,
        )


def test_leases_in_dynamodb_are_listed_and_status_tells_of_them(place, emulator, read):
    env = emulator.env
    kept = items(emulator, "operated-app")
    leases = listed(*read, env=env)
    assert set(leases) == set(kept) and len(leases) == 2
    for shard, lease in leases.items():
        at = f"{kept[shard]['checkpoint']['S'].lstrip('0')}/{kept[shard]['checkpointSubSequenceNumber']['N']}"
        assert lease["checkpoint"].lstrip("0") == at == lease["journal"], lease
        assert lease["owner"] is None and lease["counter"] == int(kept[shard]["leaseCounter"]["N"])
    shown = json.loads(run("status", "--lake", place / "operated", *read[:4], "--json", env=env).stdout)
    assert [lease["checkpoint"] for lease in shown["leases"]] == [lease["checkpoint"] for lease in leases.values()]
    assert all(shard["lag"]["records"] == 0 for shard in shown["shards"])
    give(emulator, "w-gone")
    told = run("status", "--lake", place / "operated", *read[:4], env=env).stdout
    assert len(re.findall(r": worker w-gone, checkpoint \d+/\d+", told)) == 2, told
    told = run("leases", "list", *read[:4], env=env).stdout
    assert told.count("worker w-gone, counter") == 2 and "journal" not in told
    refused("leases", "list", *read[:2], "--app", "no-such-app", env=env, names=["no worker of this --app has run yet"])
    assert "no-such-app" not in emulator.client("dynamodb").list_tables()["TableNames"], "looking makes nothing"


def test_leases_in_dynamodb_are_released_with_their_checkpoints(emulator, read):
    give(emulator, "w-gone")
    before = items(emulator, "operated-app")
    told = run("leases", "release", *read[:4], "--worker", "w-gone", env=emulator.env).stdout
    assert "2 released" in told
    for shard, item in items(emulator, "operated-app").items():
        assert "leaseOwner" not in item and item["checkpoint"] == before[shard]["checkpoint"]
        assert int(item["leaseCounter"]["N"]) == int(before[shard]["leaseCounter"]["N"]) + 1
    assert "nobody had it" in run("leases", "release", *read[:4], "--all", env=emulator.env).stdout


def test_only_a_table_without_the_living_is_reset(place, emulator, read):
    env = emulator.env
    quick = ["--config", place / "quick.toml"]
    log = place / "alive.log"
    worker = start("consume", *read, *quick, env={**os.environ, **env}, stdout=subprocess.DEVNULL, stderr=log.open("w"))
    try:
        until(lambda: all("leaseOwner" in item for item in items(emulator, "operated-app").values()), "an owner")
        refused("leases", "reset", *read, *quick, env=env, names=["is alive: it has just renewed the lease of shardId"])
        assert len(items(emulator, "operated-app")) == 2
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
    # Shards that another application has read: a new lake would begin after them.
    give(emulator, "w-gone")
    other = place / "operated-anew"
    told = run("leases", "reset", *read[:4], *quick, env=env)
    assert "watching the counters of 2 leases" in told.stderr
    assert "nobody is alive: the counters of 2 leases stood still for 2 s" in told.stdout
    assert "2 leases removed" in told.stdout and "beats a lease's checkpoint" in told.stdout
    assert items(emulator, "operated-app") == {}
    run("consume", *read[:4], "--lake", other, "--until-caught-up", env=env)
    assert len(Lake(other).rows(CURATED)) + len(Lake(other).rows(REJECTED)) == len(Lake(other).raw()) == 5000


def test_a_table_of_a_living_leader_of_kcl_3_is_left_alone(emulator, read):
    dynamodb = emulator.client("dynamodb")
    dynamodb.create_table(
        TableName="led-operated",
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    lease = {"leaseKey": {"S": "shardId-000000000000"}, "leaseCounter": {"N": "4"}, "leaseOwner": {"S": "w8"}}
    dynamodb.put_item(TableName="led-operated", Item={**lease, "checkpoint": {"S": "TRIM_HORIZON"}})
    stop, beaten = threading.Event(), threading.Event()

    def beat():
        n = 0
        while not stop.wait(0.5 if n else 0):
            item = {"leaseKey": "Leader", "entityType": "LEADER", "ownerName": "w8", "recordVersionNumber": str(n)}
            dynamodb.put_item(TableName="led-operated", Item={key: {"S": value} for key, value in item.items()})
            beaten.set()
            n += 1

    leader = threading.Thread(target=beat)
    leader.start()
    try:
        assert beaten.wait(TIMEOUT_SECONDS)
        of = [*read[:2], "--app", "led-operated"]
        for words in (["release", *of, "--all"], ["reset", *of, "--force"]):
            refused("leases", *words, env=emulator.env, names=["a living worker of KCL 3 .'w8'. assigns these leases"])
        assert "worker w8" in run("leases", "list", *of, env=emulator.env).stdout, "looking does no harm"
        assert "leaseOwner" in items(emulator, "led-operated")["shardId-000000000000"]
    finally:
        stop.set()
        leader.join()


# --- dead letters -------------------------------------------------------------------------------------------------


def test_misrouted_events_of_a_foreign_producer_are_put_again(place, emulator):
    env = emulator.env
    run("stream", "create", "--stream", "kinesis:foreign", "--shards", 4, env=env)
    client = emulator.client("kinesis")
    now = datetime.now(timezone.utc)
    event = lambda n, more="": {
        "time": (now + timedelta(milliseconds=n)).isoformat().replace("+00:00", "Z"),
        "user": f"U{n}",
        "computer": "C1",
        "more": more,
    }
    for n in range(40):
        client.put_record(StreamName="foreign", PartitionKey="host-7", Data=json.dumps(event(n, "x" * 70_000 if n < 2 else "é")))
    words = ["--stream", "kinesis:foreign", "--app", "foreign-app", "--lake", place / "foreign"]
    run("consume", *words, "--until-caught-up", env=env)
    lake = Lake(place / "foreign")
    letters = lake.rows(REJECTED)
    misrouted = [letter for letter in letters if letter["reason"] == "misrouted"]
    long = [letter for letter in misrouted if letter["payload_bytes"] > len(letter["payload"])]
    assert len(letters) == len(misrouted) > 15
    again = ["redrive", "--lake", place / "foreign", "--stream", "kinesis:foreign", "--progress", place]
    told = run(*again, "--dry-run", env=env)
    assert f"found       {len(misrouted)} misrouted" in told.stdout, told
    assert told.count("would put") == len(misrouted) - len(long) and told.count("shortened") == len(long), told
    told = run(*again, env=env)
    assert told.count("put") == len(misrouted) - len(long), told
    assert told.stdout.count("only its beginning is kept") == len(long), told
    told = run(*again, env=env)
    assert (told.count("put"), told.count("put before")) == (0, len(misrouted) - len(long)), told
    run("consume", *words, "--seal", env=env)
    users = lambda directory: sorted(row["user_id"] for row in Lake(directory).rows(CURATED))
    # Of the first two, only the beginning is kept, and either may have come to its own shard.
    lost = {json.loads(row["payload"])["user"] for row in lake.raw() if len(row["payload"]) > 65_536}
    lost &= {f"U{n}" for n in range(2)} - set(users(place / "foreign"))
    assert len(lost) == len(long)
    assert users(place / "foreign") == sorted({f"U{n}" for n in range(40)} - lost), "each once"
    run("verify", "--lake", place / "foreign")
    # Also into an embedded stream, which has its own progress.
    local = f"local:{place / 'foreign-local'}"
    run("stream", "create", "--stream", local, "--shards", 3)
    told = run("redrive", "--lake", place / "foreign", "--stream", local, "--until", now.date() + timedelta(days=1))
    assert told.count("put") == len(misrouted) - len(long), told
    run("consume", "--stream", local, "--lake", place / "foreign-local-lake", "--seal")
    sent = {row["payload"] for row in Lake(place / "foreign-local-lake").raw()}
    assert sent == {letter["payload"] for letter in misrouted if letter not in long}, "the bytes as received"
    assert len(users(place / "foreign-local-lake")) == len(sent)
    refused("redrive", "--lake", place / "foreign", "--stream", f"local:{place / 'nowhere'}", names=["does not exist"])


# --- a replay that looks live -------------------------------------------------------------------------------------


def test_a_replay_looks_live(place):
    (place / "three.txt").write_text('7000,U1,C1\n7001,U2,C1\n{"time":7003,"user":"U3","computer":"C1","event_id":"own"}\n')
    stream = f"local:{place / 'live-stream'}"
    words = ["replay", "--input", place / "three.txt", "--stream", stream, "--clock", "now", "--speed", 10]
    before = datetime.now(timezone.utc)
    told = run(*words, "--max-events", 2)
    after = datetime.now(timezone.utc)
    assert re.search(r"event times are shifted: 2015-01-01T01:56:40\S+ became \S+, distances are divided by 10\n", told.stdout)
    refused(*words[:-1], 5, names=["--speed 10"])
    run(*words)
    run("consume", "--stream", stream, "--lake", place / "live", "--seal")
    rows = {row["user_id"]: row for row in Lake(place / "live").rows(CURATED)}
    times = {user: row["event_time"].replace(tzinfo=timezone.utc) for user, row in rows.items()}
    assert before <= times["U1"] <= after, "the first event is now"
    assert times["U2"] - times["U1"] == timedelta(seconds=0.1)
    assert times["U3"] - times["U1"] == timedelta(seconds=0.3), "a run that continues shifts as the first did"
    assert rows["U3"]["event_id"] == "own"


# --- the end of a service -----------------------------------------------------------------------------------------


def test_a_second_signal_ends_a_service_at_once(place):
    """Storing cannot end, since another process has the journal locked; the second signal does not wait for it."""
    stream, lake, decisions = f"local:{place / 'twice-stream'}", place / "twice", place / "twice.jsonl"
    (place / "twice.toml").write_text(f'[decisions]\nto = "file:{decisions}"\nmin_score = 0\n[store]\nroll_age = 600\n')
    run("replay", "--input", EXCERPT, "--stream", stream, "--max")
    log = place / "twice.log"
    words = ["consume", "--stream", stream, "--lake", lake, "--config", place / "twice.toml"]
    service = start(*words, stdout=subprocess.DEVNULL, stderr=log.open("w"))
    try:
        until(lambda: decisions.exists() and decisions.read_text().count("\n") > 1_000, "decisions that are not stored yet")
        with sqlite3.connect(lake / "journal.db", isolation_level=None) as journal:
            journal.execute("PRAGMA busy_timeout = 10000")
            journal.execute("BEGIN IMMEDIATE")
            service.send_signal(signal.SIGTERM)
            until(lambda: "once more to end at once" in log.read_text(), "the answer to the first signal")
            assert service.poll() is None, "it waits for the journal"
            began = time.monotonic()
            service.send_signal(signal.SIGINT)
            assert service.wait(STOP_SECONDS) == 130, log.read_text()
            assert time.monotonic() - began < 5, "a statement waits for 10 s"
            journal.execute("ROLLBACK")
    finally:
        service.kill()
        service.wait()
    run(*words, "--seal")
    run("verify", "--lake", lake)
    assert len(Lake(lake).rows(CURATED)) == 5000, "nothing is lost, nothing twice"


def test_a_service_that_loses_a_task_ends_and_says_which(place):
    stream, lake = f"local:{place / 'task-stream'}", place / "task"
    run("replay", "--input", EXCERPT, "--stream", stream, "--max")
    words = ["consume", "--stream", stream, "--lake", lake, "--config", place / "quick.toml"]
    fail = {"AUTHPULSE_FAIL_AT": f"table swap before:{CURATED}@1"}
    names = ["the task that brings the tables up ended by a bug in this program", "AUTHPULSE_FAIL_AT"]
    told = refused(*words, env=fail, may_panic=True, names=names)
    assert told.code == 1, told
    run(*words, "--seal")
    run("verify", "--lake", lake)
    assert len(Lake(lake).rows(CURATED)) == 5000
