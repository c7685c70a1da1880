"""A lake with the rows of a local one, in an emulator's S3 and Glue."""

import re
from pathlib import Path

import pyarrow.parquet
from pyiceberg.catalog import load_catalog

from emulator import Emulator
from read_lake import TABLES

BUCKET, DATABASE = "authpulse-lake", "authpulse"
DDL = Path(__file__).resolve().parents[2] / "ddl"


class GlueEmulator(Emulator):
    """An emulator with clients, and its catalog."""

    def __init__(self):
        super().__init__()
        self.url = self.endpoint
        self.s3, self.glue = self.client("s3"), self.client("glue")

    def catalog(self):
        """The Glue catalog, as PyIceberg opens it."""
        aws = {"region": self.REGION, "access-key-id": self.KEY, "secret-access-key": self.KEY}
        return load_catalog(
            "glue",
            type="glue",
            **{f"glue.{key}": value for key, value in aws.items()},
            **{f"s3.{key}": value for key, value in aws.items()},
            **{"glue.endpoint": self.url, "s3.endpoint": self.url, "s3.path-style-access": "true"},
        )


def put_lake(lake, emulator, database=DATABASE):
    """Makes a lake in S3 and Glue with the rows, commits and properties of a local one; answers its catalog.

    Stands in for a program that writes to S3 itself. Then this becomes a run of the program, and nothing else changes.
    """
    root = f"s3://{BUCKET}/{database}"
    emulator.s3.create_bucket(Bucket=BUCKET)
    emulator.glue.create_database(DatabaseInput={"Name": database})
    catalog = emulator.catalog()
    for name in TABLES:
        source = lake.catalog.load_table(f"authpulse.{name}")
        _put_table(source, catalog, f"{database}.{name}", f"{root}/warehouse/{name}")
    for file in lake.directory.glob("raw/*/*.parquet"):
        emulator.s3.upload_file(str(file), BUCKET, f"{database}/{file.relative_to(lake.directory)}")
    emulator.glue.create_table(DatabaseName=database, TableInput=raw_table(root))
    return catalog


def _put_table(source, catalog, name, location):
    table = catalog.create_table(
        name,
        schema=source.schema(),
        location=location,
        partition_spec=source.spec(),
        sort_order=source.sort_order(),
        properties={**source.properties, "format-version": "2"},
    )
    if not source.snapshots():
        # Trino's library of these days reads no table that has never had a snapshot.
        table.append(source.schema().as_arrow().empty_table())
    known = set()
    for snapshot in source.snapshots():
        files = {task.file.file_path for task in source.scan(snapshot_id=snapshot.snapshot_id).plan_files()}
        new = [file.removeprefix("file://") for file in sorted(files - known)]
        rows = pyarrow.concat_tables(pyarrow.parquet.read_table(file, partitioning=None) for file in new)
        summary = snapshot.summary.additional_properties
        ours = {key: value for key, value in summary.items() if key.startswith("authpulse.")}
        table.append(rows, snapshot_properties=ours)
        known |= files


def raw_table(lake):
    """What Glue holds once Athena has run ddl/auth_events_raw.sql: made from the statement, which is proven so."""
    statement = (DDL / "auth_events_raw.sql").read_text().replace("LAKE", lake)
    columns, partition = re.search(r"\(\n(.*?)\n\)\nPARTITIONED BY \((\w+ \w+)", statement, re.DOTALL).groups()
    fields = [line.split()[:2] for line in columns.splitlines()]
    properties = statement.partition("TBLPROPERTIES")[2]
    parquet = "org.apache.hadoop.hive.ql.io.parquet"
    return {
        "Name": "auth_events_raw",
        "TableType": "EXTERNAL_TABLE",
        "Parameters": {"EXTERNAL": "TRUE", **dict(re.findall(r"'([^']+)' = '([^']*)'", properties))},
        "PartitionKeys": [dict(zip(("Name", "Type"), partition.split()))],
        "StorageDescriptor": {
            "Columns": [{"Name": name, "Type": kind} for name, kind in fields],
            "Location": re.search(r"LOCATION '([^']+)'", statement)[1],
            "InputFormat": f"{parquet}.MapredParquetInputFormat",
            "OutputFormat": f"{parquet}.MapredParquetOutputFormat",
            "SerdeInfo": {"SerializationLibrary": f"{parquet}.serde.ParquetHiveSerDe"},
            "NumberOfBuckets": 0,
        },
    }


def finish_view(emulator, database, name):
    """Gives a view that Trino made the number of buckets, without which Trino cannot read it. Glue itself answers 0."""
    table = emulator.glue.get_table(DatabaseName=database, Name=name)["Table"]
    view = {key: table[key] for key in ("Name", "TableType", "Parameters", "ViewOriginalText", "ViewExpandedText")}
    storage = {**table["StorageDescriptor"], "NumberOfBuckets": 0}
    emulator.glue.update_table(DatabaseName=database, TableInput={**view, "StorageDescriptor": storage})
