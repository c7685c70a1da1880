"""Leases that another application, an earlier stream or an earlier life of the service left in the table: what is continued, what
is refused. The items are written as the KCL 2.7 leaves them; tests/e2e/test_kcl.py has the KCL itself."""

import json

import pytest

from authpulse import refused, run
from kinesis_records import items, make_lease_table, shards, stored
from read_lake import Lake

CONFIG = """\
[store]
roll_age = 0.1
commit_interval = 0.1
[workers]
follow_interval = 0.1
lease_duration = 1
lease_scan = 0.2
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("continued")
    (place / "config.toml").write_text(CONFIG)
    return place


def make(emulator, name, shards):
    run("stream", "create", "--stream", f"kinesis:{name}", "--shards", shards, env=emulator.env)


def put(emulator, name, user, time):
    """Puts an event; returns its shard and its sequence number."""
    data = json.dumps({"time": time, "user": user, "computer": "C1"})
    return emulator.client("kinesis").put_record(StreamName=name, PartitionKey=user, Data=data)


def consume(place, name, *words):
    return ["consume", "--stream", f"kinesis:{name}", "--app", f"{name}-app", "--lake", place / name, "--config", place / "config.toml", *words]


def times(place, name):
    """The times of all events that the lake has received."""
    return sorted(json.loads(row["payload"])["time"] for row in Lake(place / name).raw())


def leave(emulator, name, shard, checkpoint, **more):
    """Puts a lease as the KCL leaves it."""
    item = {"leaseKey": {"S": shard}, "leaseCounter": {"N": "7"}, "ownerSwitchesSinceCheckpoint": {"N": "0"}}
    item |= {"checkpoint": {"S": checkpoint}, "checkpointSubSequenceNumber": {"N": "0"}, **more}
    emulator.client("dynamodb").put_item(TableName=f"{name}-app", Item=item)


def of_two_shards(emulator, name):
    """A user for each of two shards, by the shard's name."""
    make(emulator, name, 2)
    found = {}
    n = 0
    while len(found) < 2:
        n += 1
        found.setdefault(put(emulator, name, f"U{n}", 1000 + n)["ShardId"], f"U{n}")
    return found


def test_a_quiet_shard_is_not_read_anew_by_the_next_life(place, emulator):
    """Its first entry holds what it inherits and no record: the position where the other application stopped still counts."""
    history = place / "history.txt"
    history.write_text("1,U1,C1\n2,U2,C2\n")
    run("backfill", "--input", history, "--lake", place / "quiet", "--config", place / "config.toml")
    (quiet, _), (busy, user) = of_two_shards(emulator, "quiet").items()
    read = [record for shard, record in stored(emulator, "quiet") if shard["ShardId"] == quiet]
    others = {json.loads(record["Data"])["time"] for record in read}
    last = max(int(record["SequenceNumber"]) for record in read)
    make_lease_table(emulator, "quiet-app")
    leave(emulator, "quiet", quiet, str(last))
    leave(emulator, "quiet", busy, "TRIM_HORIZON")
    for n in range(3):
        put(emulator, "quiet", user, 200_000 + n)
        run(*consume(place, "quiet", "--until-caught-up"), env=emulator.env)
        assert not others & set(times(place, "quiet")), f"life {n}: what the other application has read"
        assert 200_000 + n in times(place, "quiet")


def test_a_shard_that_another_application_ended_meanwhile_is_read_to_its_end(place, kinesis_local):
    """Our service reads, then theirs across a split, then ours again with the same lake: the journal decides."""
    name = "resumed"
    make(kinesis_local, name, 1)
    put(kinesis_local, name, "U1", 1)
    run(*consume(place, name, "--until-caught-up"), env=kinesis_local.env)
    put(kinesis_local, name, "U1", 2)
    parent = shards(kinesis_local, name)[0]["ShardId"]
    run("stream", "split", "--stream", f"kinesis:{name}", parent, env=kinesis_local.env)
    put(kinesis_local, name, "U1", 3)
    children = [shard["ShardId"] for shard in shards(kinesis_local, name)[1:]]
    leave(kinesis_local, name, parent, "SHARD_END", childShardIds={"SS": children})
    for child in children:
        leave(kinesis_local, name, child, "TRIM_HORIZON", parentShardId={"SS": [parent]})
    run(*consume(place, name, "--seal"), env=kinesis_local.env)
    assert times(place, name) == [1, 2, 3]
    run("verify", "--lake", place / name, "--config", place / "config.toml")


def test_children_of_what_another_application_ended_begin_at_their_beginning(place, kinesis_local):
    """Even if the rest of the stream is read from now on: the other application has not read them, and nobody else would."""
    name = "children"
    make(kinesis_local, name, 1)
    put(kinesis_local, name, "U1", 1)
    parent = shards(kinesis_local, name)[0]["ShardId"]
    run("stream", "split", "--stream", f"kinesis:{name}", parent, env=kinesis_local.env)
    put(kinesis_local, name, "U1", 2)
    make_lease_table(kinesis_local, f"{name}-app")
    leave(kinesis_local, name, parent, "SHARD_END")
    run(*consume(place, name, "--start", "latest", "--until-caught-up"), env=kinesis_local.env)
    assert times(place, name) == [2]


def test_two_lakes_do_not_share_an_application(place, emulator):
    """Each lake would get a part of the stream, and neither would know."""
    name = "shared"
    make(emulator, name, 1)
    put(emulator, name, "U1", 1)
    run(*consume(place, name, "--until-caught-up"), env=emulator.env)
    before = items(emulator, f"{name}-app")
    put(emulator, name, "U1", 2)
    other = [place / "another" if word == place / name else word for word in consume(place, name, "--until-caught-up")]
    refused(*other, env=emulator.env, names=["stores elsewhere", "--app", "authpulse leases reset"])
    assert items(emulator, f"{name}-app") == before, "nothing was taken"
    run(*consume(place, name, "--until-caught-up"), env=emulator.env)
    assert times(place, name) == [1, 2]
    other[other.index(f"{name}-app")] = f"{name}-app-2"
    run(*other, env=emulator.env)
    assert times(place, "another") == [1, 2]


def test_leases_of_a_stream_that_was_made_anew_are_refused(place, emulator):
    name = "anew"
    make(emulator, name, 1)
    put(emulator, name, "U1", 1)
    run(*consume(place, name, "--seal"), env=emulator.env)
    assert "streamCreated" in next(iter(items(emulator, f"{name}-app").values()))
    run("stream", "delete", "--stream", f"kinesis:{name}", "--yes", env=emulator.env)
    made = emulator.client("kinesis").describe_stream_summary
    before = items(emulator, f"{name}-app")
    # An emulator gives the time of creation in whole seconds.
    created = next(iter(before.values()))["streamCreated"]["S"]
    while True:
        make(emulator, name, 1)
        at = made(StreamName=name)["StreamDescriptionSummary"]["StreamCreationTimestamp"]
        if at.strftime("%Y-%m-%dT%H:%M:%S") not in created:
            break
        run("stream", "delete", "--stream", f"kinesis:{name}", "--yes", env=emulator.env)
    put(emulator, name, "U1", 2)
    refused(*consume(place, name, "--seal"), env=emulator.env, names=["a stream of this name that was made at", "authpulse leases reset"])
    assert items(emulator, f"{name}-app") == before, "nothing was taken"
    run("leases", "reset", "--stream", f"kinesis:{name}", "--app", f"{name}-app", "--config", place / "config.toml", env=emulator.env)
    run(*consume(place, name, "--seal"), env=emulator.env)
    assert times(place, name) == [1, 2]
