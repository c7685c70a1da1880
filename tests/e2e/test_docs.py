"""The snippets of docs/query.md, as a reader would run them. That for Trino is run in test_trino.py."""

import hashlib

import duckdb
import pytest

from authpulse import EXCERPT, run
from read_lake import extension
from snippets import check, snippets


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The place of ./lake; no snippet changes the lake."""
    place = tmp_path_factory.mktemp("docs")
    run("backfill", "--input", EXCERPT, "--lake", place / "lake")

    def content():
        # Except for the files that SQLite keeps beside a database while it is read.
        files = [file for file in (place / "lake").rglob("*") if file.is_file()]
        files = [file for file in files if not file.name.endswith(("-wal", "-shm"))]
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    before = content()
    yield place
    assert content() == before, "reading has changed the lake"


def test_pyiceberg(place):
    check("PyIceberg", place)


def test_duckdb(place, tmp_path):
    """The extensions are installed from their packages, so that INSTALL has nothing to fetch."""
    (tmp_path / ".duckdb").mkdir()
    with duckdb.connect(config={"extension_directory": str(tmp_path / ".duckdb" / "extensions")}) as connection:
        for name in ("avro", "iceberg"):
            connection.execute(f"INSTALL '{extension(name)}'")
    check("DuckDB", place, HOME=str(tmp_path))


@pytest.mark.engines
def test_spark(place, tmp_path):
    """The jars are fetched once, into the cache for programs that need Java."""
    from jvm import Jdk
    from trino_server import CACHE

    ivy = CACHE / "ivy"
    java = Jdk().java.parent.parent
    options = f"--conf spark.jars.ivy={ivy} --conf spark.ui.enabled=false pyspark-shell"
    check("Spark", place, PYSPARK_SUBMIT_ARGS=options, JAVA_HOME=str(java), SPARK_LOCAL_IP="127.0.0.1")


def test_every_snippet_is_run():
    assert set(snippets()) == {"PyIceberg", "DuckDB", "Athena and Trino", "Spark"}
