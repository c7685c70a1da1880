"""The lake on S3 with its tables in Glue, on an emulator: the rows of the local lake, also through kills."""

import gzip
import json
import os
import random
import signal
import subprocess

import pytest

import nasty
from authpulse import attempt, refused, run, start
from emulator import Emulator
from read_lake import CURATED, TABLES, Lake, S3Lake, assert_same

KILLS = int(os.environ.get("AUTHPULSE_KILLS", "6"))
SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
BUCKET = "authpulse-lakes"


@pytest.fixture(scope="module")
def emulator():
    emulator = Emulator()
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    yield emulator
    emulator.stop()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("s3")
    nasty.write(place / "nasty.txt", seed=3, events=2400, days=3)
    # Small entries and frequent commits make more requests between which to end.
    (place / "small.toml").write_text("[store]\nroll_rows = 500\ncommit_interval = 0.3\nsnapshot_rows = 900\n")
    stream = f"local:{place / 'stream'}"
    run("replay", "--input", place / "nasty.txt", "--stream", stream, "--shards", 3, "--max", "--close")
    return place


def command(place, way, lake):
    """A way into a lake, with raw; `lake` is a directory, or the name of a lake on S3 and of its database."""
    source = {
        "backfill": ["--input", place / "nasty.txt", "--raw"],
        "consume": ["--stream", f"local:{place / 'stream'}"],
    }
    return [way, *source[way], *words(lake), "--config", place / "small.toml"]


def words(lake):
    if isinstance(lake, str):
        return ["--lake", f"s3://{BUCKET}/{lake}", "--catalog", f"glue:{lake}"]
    return ["--lake", lake]


@pytest.fixture(scope="module")
def local(place):
    lakes = {}
    for way in ("backfill", "consume"):
        run(*command(place, way, place / way))
        lakes[way] = Lake(place / way)
    return lakes


def expect_same(place, local, way, name, emulator, what):
    run("verify", *words(name), "--config", place / "small.toml", env=emulator.env)
    lake = S3Lake(f"s3://{BUCKET}/{name}", name, emulator)
    for table in TABLES:
        assert_same(local[way].comparable(table), lake.comparable(table), f"{table}: local and {what}")
    positions = [
        [(row["shard_id"], row["sequence_number"], row["payload"]) for row in one.raw()] for one in (local[way], lake)
    ]
    assert positions[0] == positions[1], f"raw: local and {what}"
    return lake


@pytest.mark.parametrize("way", ["backfill", "consume"])
def test_the_rows_of_the_local_lake(place, local, emulator, way):
    run(*command(place, way, way), env=emulator.env)
    lake = expect_same(place, local, way, way, emulator, f"{way} on S3")
    status = json.loads(run("status", *words(way), "--json", env=emulator.env).stdout)
    assert {table["behind"] for table in status["tables"]} == {0}
    assert {shard["state"] for shard in status["shards"]} == {"sealed"}
    told = run("config", "check", place / "small.toml", *words(way), env=emulator.env)
    assert f"the lake s3://{BUCKET}/{way} can go on with it" in told.stdout
    # Nothing is left staged, and the journal has one name an entry.
    keys = [o["Key"] for o in emulator.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{way}/")["Contents"]]
    assert not [key for key in keys if "/staging/" in key]
    assert f"{way}/journal/file/00000000000000000001" in keys or way == "consume"
    # Athena only reads a table in this form.
    table = lake.glue_table(CURATED)
    assert table["TableType"] == "EXTERNAL_TABLE" and table["Parameters"]["table_type"] == "ICEBERG"
    assert table["Parameters"]["previous_metadata_location"].startswith(f"s3://{BUCKET}/{way}/warehouse/{CURATED}/")
    assert table["StorageDescriptor"]["Location"] == f"s3://{BUCKET}/{way}/warehouse/{CURATED}"
    assert [c["Name"] for c in table["StorageDescriptor"]["Columns"]][:2] == ["event_id", "event_time"]


def test_tables_are_made_before_the_first_event(place, emulator):
    assert run("tables", "create", *words("made"), env=emulator.env).stdout.count(": made") == len(TABLES)
    glue = emulator.client("glue")
    names = {table["Name"] for table in glue.get_tables(DatabaseName="made")["TableList"]}
    assert names == {*TABLES, "auth_events_raw"}
    told = run("tables", "check", *words("made"), env=emulator.env).stdout
    assert told.count("as it should be") == len(TABLES)
    run("backfill", "--input", place / "nasty.txt", *words("made"), env=emulator.env)
    run("verify", *words("made"), env=emulator.env)


def test_a_parameter_set_by_hand_outlives_commits(place, emulator):
    lines = (place / "nasty.txt").read_bytes().split(b"\n")
    parts = [place / "first.txt", place / "second.txt"]
    parts[0].write_bytes(b"\n".join(lines[: len(lines) // 2]) + b"\n")
    parts[1].write_bytes(b"\n".join(lines[len(lines) // 2 :]))
    run("backfill", "--input", parts[0], *words("by_hand"), "--keep-open", env=emulator.env)
    glue = emulator.client("glue")
    table = glue.get_table(DatabaseName="by_hand", Name=CURATED)["Table"]
    kept = {key: table[key] for key in ("Name", "StorageDescriptor", "PartitionKeys", "TableType", "Parameters")}
    kept["Parameters"]["owner_team"] = "soc"
    glue.update_table(DatabaseName="by_hand", TableInput=kept)
    run("backfill", "--input", parts[1], *words("by_hand"), env=emulator.env)
    after = glue.get_table(DatabaseName="by_hand", Name=CURATED)["Table"]["Parameters"]
    assert after["owner_team"] == "soc" and after["metadata_location"] != kept["Parameters"]["metadata_location"]
    run("verify", *words("by_hand"), env=emulator.env)


@pytest.mark.parametrize("way", ["backfill", "consume"])
@pytest.mark.parametrize(
    "point",
    ["entry put before", "entry put after", "raw rename before", f"table swap before:{CURATED}", f"table swap after:{CURATED}"],
)
def test_ended_at_a_point(place, local, emulator, way, point):
    name = f"{way}_{point}".replace(" ", "_").replace(":", "_")
    ended = attempt(*command(place, way, name), env={**emulator.env, "AUTHPULSE_CRASH": point}, may_abort=True)
    assert ended.code == -signal.SIGABRT, f"the point is never reached\n{ended}"
    go_on(place, way, name, emulator)
    expect_same(place, local, way, name, emulator, f"an end at '{point}'")


def go_on(place, way, name, emulator):
    """An undisturbed run to the end. A backfill that had come to its end says so and does nothing."""
    again = attempt(*command(place, way, name), env=emulator.env)
    assert again.code == 0 or (way == "backfill" and "nothing to do" in again.stderr), again


@pytest.mark.parametrize("way", ["backfill", "consume"])
def test_killed_at_random(place, local, emulator, way):
    rng = random.Random(f"{SEED} s3 {way}")
    name, kills = f"{way}_random", 0
    for _ in range(KILLS):
        process = start(
            *command(place, way, name),
            env={**os.environ, **emulator.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(rng.uniform(0.05, 1.5))
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    go_on(place, way, name, emulator)
    expect_same(place, local, way, name, emulator, f"{kills} kills, seed {SEED}")


def test_maintenance_goes_on_after_one_that_was_killed(place, emulator):
    """On S3 nothing says that a process is gone: the next one watches its lock for the length of the lease, and takes it over."""
    config = place / "short_leases.toml"
    config.write_text("[store]\nroll_rows = 300\ngather_below = 0\n[maintain]\nmin_files = 2\n[workers]\nlease_duration = 1\n")
    run("backfill", "--input", place / "nasty.txt", *words("killed_maintenance"), "--config", config, env=emulator.env)
    maintain = ["tables", "maintain", *words("killed_maintenance"), "--config", config]
    ended = attempt(*maintain, env={**emulator.env, "AUTHPULSE_CRASH": "maintain swap before:auth_events_rejected"}, may_abort=True)
    assert ended.code == -signal.SIGABRT, f"the point is never reached\n{ended}"
    assert "watching whether it renews it" in run(*maintain, env={**emulator.env, "AUTHPULSE_LOG": "info"}).stderr
    # A process that is alive keeps its turn.
    keeper = start(*maintain, "--every", "1h", env={**os.environ, **emulator.env}, stdout=subprocess.PIPE, text=True)
    try:
        keeper.stdout.readline()
        refused(*maintain, env=emulator.env, names=["are being maintained by another process"])
    finally:
        keeper.terminate()
        keeper.communicate()
    assert keeper.returncode == 0
    run(*maintain, env=emulator.env)
    run("verify", *words("killed_maintenance"), env=emulator.env)


def test_the_demo_on_s3(place, emulator):
    words = ["demo", "--events", 3000, "--shards", 2, "--lake", f"s3://{BUCKET}/demo", "--catalog", "glue:demo"]
    result = run(*words, env=emulator.env, cwd=place)
    assert "it adds up" in result.stdout and (place / "authpulse-demo" / f"{BUCKET}-demo" / "plan.json").exists()
    run("verify", "--lake", f"s3://{BUCKET}/demo", "--catalog", "glue:demo", env=emulator.env)


def test_what_does_not_fit_is_refused_with_what_to_do(place, emulator):
    text = place / "nasty.txt"

    def refused_lake(lake, *more, names):
        refused("backfill", "--input", text, "--lake", lake, *more, env=emulator.env, names=names)

    refused_lake(f"s3://{BUCKET}/x", names=["add --catalog glue"])
    refused_lake(place / "x", "--catalog", "glue", names=["has its own catalog"])
    refused_lake(f"s3://{BUCKET}/a b", "--catalog", "glue", names=["a prefix has at most"])
    refused_lake("s3://no-such-bucket-here/x", "--catalog", "glue", names=["there is no bucket for s3://no-such-bucket-here"])
    refused_lake(f"s3://{BUCKET}", "--catalog", "glue:whole", names=["is not a lake", "name another prefix"])
    refused_lake(f"s3://{BUCKET}/x", "--catalog", "glue:Not-Good", names=["lower-case letters"])
    refused("verify", *words("nowhere"), env=emulator.env, names=["there is no lake at s3://"])
    run("backfill", "--input", text, *words("twice"), env=emulator.env)
    refused_lake(f"s3://{BUCKET}/twice", "--catalog", "glue:other", names=["are in --catalog glue:twice"])
    # Another lake with the same database would take the first one's tables for its own.
    refused_lake(f"s3://{BUCKET}/second", "--catalog", "glue:twice", names=["does not lie in the lake"])
    nobody = {**emulator.env, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    refused("status", *words("twice"), env=nobody, names=["no AWS credentials", "AWS_PROFILE"])
    refused("status", *words("twice"), env={**emulator.env, "AWS_REGION": ""}, names=["set AWS_REGION"])


def test_a_lost_lake_is_not_made_anew_in_silence(place, emulator):
    """An embedded stream knows the lakes that it was read into, those on S3 as well. A refused command creates nothing."""
    stream, of = f"local:{place / 'lost-stream'}", words("lost")
    run("replay", "--input", place / "nasty.txt", "--stream", stream, "--max")
    consume = ["consume", "--stream", stream, *of, "--until-caught-up"]
    run(*consume, env=emulator.env)
    s3 = emulator.client("s3")

    def content():
        return sorted(found["Key"] for found in s3.list_objects_v2(Bucket=BUCKET, Prefix="lost/").get("Contents", []))

    for key in content():
        s3.delete_object(Bucket=BUCKET, Key=key)
    gone = r"the lake s3://.*/lost is gone, and the stream .* was read into it"
    refused(*consume, env=emulator.env, names=[gone, f"leases reset --stream {stream} --lake s3://{BUCKET}/lost --catalog glue:lost"])
    assert content() == []
    # Another lake in the same place.
    emulator.client("glue").delete_database(Name="lost")
    run("tables", "create", *of, env=emulator.env)
    before = content()
    refused(*consume, env=emulator.env, names=["is not the one that the stream .* was read into"])
    assert content() == before
    run("leases", "reset", "--stream", stream, *of, env=emulator.env)
    run(*consume, env=emulator.env)
    run("verify", *of, env=emulator.env)


def test_a_file_that_is_cut_off_is_given_up(emulator, tmp_path):
    """As on a local lake; what is loaded next is sorted beside the system's temporary files."""
    lines = "".join(f"{n},U{n % 37},C{n % 11}\n" for n in range(1, 5000)).encode()
    parts = [gzip.compress(lines[at : at + 20_000]) for at in range(0, len(lines), 20_000)]
    (tmp_path / "cut.gz").write_bytes(b"".join(parts)[:-20])
    (tmp_path / "small.toml").write_text("[store]\nroll_bytes = 1024\n")
    refused(
        "backfill", "--input", tmp_path / "cut.gz", *words("cut"), "--raw", "--config", tmp_path / "small.toml",
        names=["cut off"], env=emulator.env,
    )  # fmt: skip
    told = run("backfill", "--give-up", *words("cut"), env=emulator.env)
    assert "given up after line" in told.stdout and 0 < told.count("curated") < 4999, told
    (tmp_path / "b").write_bytes(b"20000,U1,C1\n")
    (tmp_path / "a").write_bytes(b"40000,U1,C1\n")
    files = ["--input", tmp_path / "a", tmp_path / "b"]
    after = run("backfill", *files, "--sort", *words("cut"), env=emulator.env)
    assert after.count("curated") == told.count("curated") + 2, after
    run("verify", *words("cut"), env=emulator.env)
