"""What a stream of Kinesis and its table of leases hold, as Amazon's own libraries read it."""

import base64

from aws_kinesis_agg.deaggregator import deaggregate_records


def shards(emulator, name):
    return emulator.client("kinesis").list_shards(StreamName=name)["Shards"]


def stored(emulator, name):
    """Every record of a stream, as its shards hold them: shard, and the record."""
    client = emulator.client("kinesis")
    records = []
    for shard in shards(emulator, name):
        at = client.get_shard_iterator(StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")
        iterator = at["ShardIterator"]
        while iterator:
            page = client.get_records(ShardIterator=iterator, Limit=10_000)
            records += [(shard, record) for record in page["Records"]]
            iterator = page.get("NextShardIterator")
            if not page["Records"]:
                break
    return records


def user_records(records):
    """The user records that Amazon's own library finds in them: shard, key, data."""
    found = []
    for shard, record in records:
        about = {"kinesisSchemaVersion": "1.0", "approximateArrivalTimestamp": 1.0, "sequenceNumber": record["SequenceNumber"]}
        outer = {"data": base64.b64encode(record["Data"]), "partitionKey": record["PartitionKey"], **about}
        for inner in deaggregate_records([{"kinesis": outer}]):
            found.append((shard, inner["kinesis"]["partitionKey"], base64.b64decode(inner["kinesis"]["data"])))
    return found


def items(emulator, table):
    """The items of a table of leases, by their keys."""
    return {item["leaseKey"]["S"]: item for item in emulator.client("dynamodb").scan(TableName=table)["Items"]}


def make_lease_table(emulator, table):
    """A table of leases as the KCL makes it."""
    emulator.client("dynamodb").create_table(
        TableName=table,
        KeySchema=[{"AttributeName": "leaseKey", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "leaseKey", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
