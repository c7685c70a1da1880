"""Every call of the program to S3, Glue and DynamoDB meets every error at least once, and the lake is as if none had happened.

The emulator itself never throttles, fails or loses an answer; the proxy in between (`fault_proxy.py`) does.
"""

import os

import pytest

import nasty
from authpulse import attempt, run
from emulator import Emulator
from fault_proxy import ANYWHERE, CONFLICT, DYNAMODB, EXPIRED, GLUE, LATE, S3, FaultProxy
from read_lake import TABLES, Lake, S3Lake, assert_same

SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
BUCKET = "authpulse-faults"

# Small entries and frequent commits: many calls. Everything is old enough to be merged, expired and removed at once.
CONFIG = """
[store]
roll_rows = 150
commit_interval = 0.1
snapshot_rows = 300
[workers]
follow_interval = 0.2
[s3]
answer_timeout = 1
[maintain]
min_files = 2
manifests_max = 1
snapshot_age = 0
orphan_age = 0
"""

# The operations that the program calls, and their faults beyond those of any call. Larger files go up in parts, which the
# tests of crates/aws check.
OPERATIONS = {
    S3: {
        "PutObject": (CONFLICT, LATE),
        "CopyObject": (CONFLICT, LATE),
        "GetObject": (LATE,),
        "HeadObject": (),
        "ListObjectsV2": (LATE,),
        "DeleteObject": (),
    },
    GLUE: {
        "GetDatabase": (),
        "CreateDatabase": (),
        "GetTable": (LATE,),
        "CreateTable": (LATE,),
        "UpdateTable": (CONFLICT, LATE),
    },
    DYNAMODB: {"GetItem": (LATE,), "PutItem": (LATE,), "CreateTable": (), "DescribeTable": ()},
}

# Each round makes a lake of its own, because some calls are only made for a new one.
ROUNDS_MAX = 20
# A run that ended with an error is run again, as a service manager does.
ATTEMPTS_MAX = 10


@pytest.fixture(scope="module")
def emulator():
    emulator = Emulator()
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    yield emulator
    emulator.stop()


@pytest.fixture
def proxy(emulator):
    proxy = FaultProxy(emulator.endpoint, seed=SEED, late_seconds=3)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("faults")
    (place / "small.toml").write_text(CONFIG)
    nasty.write(place / "nasty.txt", seed=3, events=500, days=2)
    run("replay", "--input", place / "nasty.txt", "--stream", stream(place), "--shards", 2, "--max", "--close")
    return place


def stream(place):
    return f"local:{place / 'stream'}"


def words(lake):
    if isinstance(lake, str):
        return ["--lake", f"s3://{BUCKET}/{lake}", "--catalog", f"glue:{lake}"]
    return ["--lake", lake]


def commands(place, way, lake):
    source = {"backfill": ["--input", place / "nasty.txt", "--raw"], "consume": ["--stream", stream(place)]}
    config = ["--config", place / "small.toml"]
    return [
        [way, *source[way], *words(lake), *config],
        ["tables", "maintain", *words(lake), *config],
    ]


@pytest.fixture(scope="module")
def local(place):
    lakes = {}
    for way in ("backfill", "consume"):
        run(*commands(place, way, place / way)[0])
        lakes[way] = Lake(place / way)
    return lakes


def expect_same(place, local, way, name, emulator):
    run("verify", *words(name), "--config", place / "small.toml", env=emulator.env)
    lake = S3Lake(f"s3://{BUCKET}/{name}", name, emulator)
    for table in TABLES:
        assert_same(local[way].comparable(table), lake.comparable(table), f"{table}: local and {name}")
    raw = [[(r["shard_id"], r["sequence_number"], r["payload"]) for r in one.raw()] for one in (local[way], lake)]
    assert raw[0] == raw[1], f"raw: local and {name}"


def persist(command, env):
    """Runs a command until it succeeds; returns the errors on the way."""
    errors = []
    for _ in range(ATTEMPTS_MAX):
        result = attempt(*command, env=env)
        if result.code == 0 or "nothing to do" in result.stderr:
            return errors
        assert "error: " in result.stderr or command[0] == "tables", f"it does not say why\n{result}"
        errors.append(result.stderr[-600:])
    raise AssertionError("it never succeeds:\n" + "\n".join(errors))


def test_each_error_meets_each_call(place, local, emulator, proxy):
    wanted = set()
    for service, operations in OPERATIONS.items():
        for operation, more in operations.items():
            proxy.inject(service, operation, *ANYWHERE, *more)
            wanted |= {(service, operation, fault) for fault in (*ANYWHERE, *more)}
    env, errors, lakes = proxy.env(emulator), [], []
    while proxy.not_injected():
        assert len(lakes) < ROUNDS_MAX, f"never called: {proxy.not_injected()}"
        way = ("backfill", "consume")[len(lakes) % 2]
        name = f"round{len(lakes)}"
        lakes.append((way, name))
        for command in commands(place, way, name):
            errors += persist(command, env)
        # So that the next round makes the table again.
        emulator.client("dynamodb").delete_table(TableName="authpulse_locks")
    for way, name in lakes:
        expect_same(place, local, way, name, emulator)
    assert set(proxy.faults) >= wanted
    unknown = {call for call in proxy.calls if call[1] not in OPERATIONS[call[0]]}
    assert not unknown, f"calls that no error met: {unknown}"
    print(f"{sum(proxy.faults.values())} faults in {sum(proxy.calls.values())} calls, {len(lakes)} lakes, {len(errors)} ends")
    print("\n".join(errors))


def test_an_expired_session_ends_the_run_with_what_to_do(place, local, emulator, proxy):
    """The program does not retry what cannot succeed; with new credentials, the same command goes on."""
    for service, operation in [(S3, "PutObject"), (GLUE, "UpdateTable")]:
        name = f"expired_{service}"
        command = commands(place, "backfill", name)[0]
        proxy.inject(service, operation, EXPIRED)
        result = attempt(*command, env=proxy.env(emulator))
        assert "the AWS session has expired" in result.stderr and "log in again" in result.stderr, result
        assert not proxy.not_injected()
        persist(command, proxy.env(emulator))
        expect_same(place, local, "backfill", name, emulator)
