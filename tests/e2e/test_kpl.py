"""The aggregation format of crates/kpl against Amazon's own library for Python, byte by byte and in both directions."""

import base64
import hashlib
import json
import random
import subprocess

import pytest
from aws_kinesis_agg.aggregator import RecordAggregator, messages_pb2
from aws_kinesis_agg.deaggregator import deaggregate_records

from authpulse import EXAMPLES

KPL = EXAMPLES / "kpl"
# A size of the outer record. The libraries count its frame differently, but far from the limit both make one aggregate.
ONE_AGGREGATE = 1_000_000


def kpl(mode, *words, lines):
    done = subprocess.run([KPL, mode, *map(str, words)], input="\n".join(lines), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def user_records(seed, count, hash_keys):
    """Partition keys of all alphabets, some of them shared; payloads of any bytes, some of none."""
    chance = random.Random(seed)
    keys = [f"U{n}" for n in range(9)] + ["ü", "名前", "🦀" * 40, "with space", "x" * 256]
    places = [str(chance.randrange(2**128)) for _ in range(5)] + ["0", str(2**128 - 1)]
    return [
        (chance.choice(keys), chance.choice(places) if hash_keys else None, chance.randbytes(chance.choice([0, 1, 120, 300])))
        for _ in range(count)
    ]


def theirs(records):
    aggregator = RecordAggregator()
    for key, place, data in records:
        assert aggregator.add_user_record(key, data, place) is None
    return aggregator.clear_and_get().get_contents()[2]


def ours(records, most=ONE_AGGREGATE):
    lines = [json.dumps({"partition_key": k, "explicit_hash_key": p, "data": d.hex()}) for k, p, d in records]
    return kpl("aggregate", most, lines=lines)


def read_by_them(data, key="a"):
    about = {"kinesisSchemaVersion": "1.0", "approximateArrivalTimestamp": 1.5, "sequenceNumber": "7", "partitionKey": key}
    outer = {"kinesis": {"data": base64.b64encode(data), **about}}
    inner = [record["kinesis"] for record in deaggregate_records([outer])]
    return [(r["partitionKey"], r.get("explicitHashKey"), base64.b64decode(r["data"])) for r in inner]


def read_by_us(*payloads):
    answers = kpl("deaggregate", lines=[data.hex() for data in payloads])
    assert len(answers) == len(payloads)
    return [
        answer
        if isinstance(answer, str)
        else [(r["partition_key"], r["explicit_hash_key"], bytes.fromhex(r["data"])) for r in answer]
        for answer in answers
    ]


@pytest.mark.parametrize("hash_keys", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_same_records_give_the_same_bytes_and_come_back(seed, hash_keys):
    records = user_records(seed, 400, hash_keys)
    (out,) = ours(records)
    assert bytes.fromhex(out["data"]) == theirs(records)
    assert read_by_them(bytes.fromhex(out["data"])) == records
    assert read_by_us(theirs(records)) == [records]
    first = records[0][1] or str(int.from_bytes(hashlib.md5(records[0][0].encode()).digest()))
    assert (out["partition_key"], out["explicit_hash_key"]) == ("a", first)


def test_a_full_aggregate_is_followed_by_another():
    records = user_records(9, 2_000, False)
    out = ours(records, 25_600)
    assert len(out) > 5 and all(len(bytes.fromhex(one["data"])) <= 25_600 for one in out)
    back = [record for one in out for record in read_by_them(bytes.fromhex(one["data"]), one["partition_key"])]
    assert back == records


def message(build):
    """The bytes of an aggregate, as Google's own protobuf writes it."""
    aggregate = messages_pb2.AggregatedRecord()
    build(aggregate)
    body = aggregate.SerializePartialToString()
    return b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()


def with_record(**fields):
    def build(aggregate):
        aggregate.partition_key_table.append("k")
        aggregate.records.add(**fields)

    return message(build)


def test_edges_are_judged_alike():
    good = theirs([("k", None, b"x"), ("l", None, b"y")])
    tagged = messages_pb2.AggregatedRecord()
    tagged.partition_key_table.append("k")
    tagged.records.add(partition_key_index=0, data=b"x").tags.add(key="t", value="v")
    body = tagged.SerializeToString()
    unknown = good[4:-16] + b"\x7a\x02zz"
    frame = lambda body: b"\xf3\x89\x9a\xc2" + body + hashlib.md5(body).digest()
    cases = {
        "magic alone": good[:4],
        "magic and 16 bytes": good[:20],
        "wrong digest": good[:-1] + bytes([good[-1] ^ 1]),
        "cut off under a right digest": frame(good[4:-17]),
        "tags": frame(body),
        "unknown field": frame(unknown),
        "records before tables": frame(b"\x1a\x05\x08\x00\x1a\x01x\x0a\x01k"),
        "no records": message(lambda aggregate: aggregate.partition_key_table.append("k")),
        "a payload that begins with the magic": good[:4] + b'{"time":1,"user":"U1","computer":"C1"}',
        "a group that is not ended": frame(good[4:-16] + b"\x7b\x08\x01"),
    }
    for (what, data), found in zip(cases.items(), read_by_us(*cases.values())):
        them = read_by_them(data)
        expected = "plain" if them == [("a", None, data)] else them
        assert found == expected, what
    # Here they differ. Google's parser for Java, and so the KCL, refuses a message without its required fields; the one for Python
    # does not check.
    assert read_by_us(with_record(data=b"x"), with_record(partition_key_index=0)) == ["plain", "plain"]
    # Theirs returns what comes before a wrong index, and prints the rest to standard error.
    wrong = frame(b"\x0a\x01k\x1a\x05\x08\x00\x1a\x01x\x1a\x05\x08\x05\x1a\x01y")
    assert read_by_them(wrong) == [("k", None, b"x")]
    assert read_by_us(wrong) == ["damaged: user record 1 names key 5 of a table that has 1"]
