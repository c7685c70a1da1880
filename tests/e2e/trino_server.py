#!/usr/bin/env python3
"""A Trino of one node that reads S3 and Glue of a local emulator: as near to Athena (engine v3) as a test comes.

    python3 tests/e2e/trino_server.py install      downloads and unpacks it, once
    python3 tests/e2e/trino_server.py run URL      runs it over the emulator at URL until it is interrupted

It is Trino 406, the newest whose Iceberg plugin is published and runs on Java 17. Maven fetches it, by its own settings,
into AUTHPULSE_TRINO_CACHE (default: ~/.cache/authpulse-trino; about 370 MB), outside of the checkout.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trino

from jvm import Jdk, Maven, Missing, call, free_port, installing

SOURCES = Path(__file__).resolve().parents[1] / "trino"
CACHE = Path(os.environ.get("AUTHPULSE_TRINO_CACHE") or Path.home() / ".cache" / "authpulse-trino")
VERSION = "406"
START_SECONDS = 180
STOP_SECONDS = 30

HEAP = "768m"
CATALOG = "awsdatacatalog"  # Athena's own name for it


def install():
    """Makes sure that the server is in the cache; returns where."""
    home, jdk = CACHE / f"trino-{VERSION}", Jdk()
    with installing(home) as new:
        if new:
            _fill(new, jdk)
    return home, jdk


def _fill(new, jdk):
    lib, plugins = new / "lib", new / "plugin"
    with Maven(jdk, new) as maven:
        maven.copy(SOURCES / "pom.xml", lib)
        artifact = f"-Dartifact=io.trino:trino-iceberg:{VERSION}:zip"
        maven.goal("unpack", artifact, f"-DoutputDirectory={plugins}")
    iceberg, hive = plugins / "iceberg", plugins / "hive"
    (plugins / f"trino-iceberg-{VERSION}").rename(iceberg)
    hive.mkdir()
    for jar in iceberg.glob("*.jar"):
        if not jar.name.endswith("-services.jar"):
            os.link(jar, hive / jar.name)
    call(jdk.javac, "-d", new / "main", "-cp", f"{lib}/*", SOURCES / "Start.java")
    classes = new / "hive"
    call(jdk.javac, "-d", classes, "-cp", f"{hive}/trino-hive-{VERSION}.jar:{lib}/*", SOURCES / "Hive.java")
    services = classes / "META-INF" / "services"
    services.mkdir(parents=True)
    (services / "io.trino.spi.Plugin").write_text("Hive\n")
    call(jdk.jar, "cf", hive / "authpulse-hive.jar", "-C", classes, ".")


def _configuration(home, run, port, emulator):
    aws = f"""
hive.metastore.glue.region=us-east-1
hive.metastore.glue.endpoint-url={emulator}
hive.metastore.glue.aws-access-key=test
hive.metastore.glue.aws-secret-key=test
hive.s3.endpoint={emulator}
hive.s3.path-style-access=true
hive.s3.ssl.enabled=false
hive.s3.aws-access-key=test
hive.s3.aws-secret-key=test
"""
    files = {
        "config.properties": f"""
coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port={port}
discovery.uri=http://127.0.0.1:{port}
catalog.config-dir={run}/etc/catalog
plugin.dir={home}/plugin
log.levels-file={run}/etc/log.properties
query.max-memory=128MB
query.max-memory-per-node=128MB
memory.heap-headroom-per-node=64MB
""",
        "log.properties": "io.trino=INFO\nBootstrap=WARN\norg.glassfish.jersey=ERROR\n",
        # A retention of zero lets a test expire at once what it has just written.
        "catalog/iceberg.properties": f"""
connector.name=iceberg
iceberg.catalog.type=glue
iceberg.file-format=PARQUET
iceberg.compression-codec=ZSTD
iceberg.glue.skip-archive=true
iceberg.expire_snapshots.min-retention=0s
iceberg.remove_orphan_files.min-retention=0s
{aws}""",
        # As in Athena, one catalog serves both: Iceberg tables are handed on. Segments and statistics are parts of Glue
        # that emulators lack. Without the precision, timestamps of the raw zone would lose their microseconds.
        f"catalog/{CATALOG}.properties": f"""
connector.name=hive
hive.metastore=glue
hive.iceberg-catalog-name=iceberg
hive.partition-projection-enabled=true
hive.timestamp-precision=MICROSECONDS
hive.metastore.glue.partitions-segments=1
hive.table-statistics-enabled=false
{aws}""",
    }
    for name, text in files.items():
        file = run / "etc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip())


class Trino:
    """A running server. `emulator` is the address of S3 and Glue, `run` a directory for configuration and log."""

    def __init__(self, emulator, run):
        home, jdk = install()
        self.run, self.port = Path(run).resolve(), free_port()
        _configuration(home, self.run, self.port, emulator)
        words = f"""{jdk.java} -Xmx{HEAP} -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -XX:ReservedCodeCacheSize=256M
            -Djdk.attach.allowAttachSelf=true -Dfile.encoding=UTF-8 -Duser.timezone=UTC
            -Dnode.environment=test -Dnode.id=test-1
            -Dnode.bind-ip=127.0.0.1 -Dnode.internal-address=127.0.0.1""".split()
        words += [f"-Dnode.data-dir={self.run}/data", f"-Dconfig={self.run}/etc/config.properties"]
        words += ["-cp", f"{home}/main:{home}/lib/*", "Start"]
        (self.run / "data").mkdir(exist_ok=True)
        self.log = self.run / "trino.log"
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.run / "data"
            )

    def wait(self, database, table):
        """Until a table can be read. The server answers requests seconds before its one node is known to it."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.query(f'SELECT count(*) FROM "{table}"', database)
            except Exception as error:
                unreachable = isinstance(error, (OSError, trino.exceptions.TrinoConnectionError))
                early = unreachable or getattr(error, "error_name", "") in {
                    "SERVER_STARTING_UP",
                    "NO_NODES_AVAILABLE",
                    "CATALOG_NOT_AVAILABLE",
                    "CATALOG_NOT_FOUND",
                }
                over = time.monotonic() > deadline or self._process.poll() is not None
                if over or not early:
                    self.stop()
                    raise RuntimeError(f"Trino is not ready: {error}\n{self.log.read_text()[-3000:]}") from error
            time.sleep(0.2)

    def query(self, sql, database=None):
        """Rows as dictionaries, and the figures of the finished query."""
        connection = trino.dbapi.connect(
            host="127.0.0.1", port=self.port, user="test", catalog=CATALOG, schema=database, timezone="UTC",
            max_attempts=1,
        )
        cursor = connection.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall()
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row)) for row in rows], cursor.stats

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def main():
    if sys.argv[1:] == ["install"]:
        home, _ = install()
        print(home)
    elif sys.argv[1:2] == ["run"] and len(sys.argv) == 3:
        with tempfile.TemporaryDirectory(prefix="trino.") as run:
            server = Trino(sys.argv[2], run)
            print(f"http://127.0.0.1:{server.port}", flush=True)
            try:
                server._process.wait()
            except KeyboardInterrupt:
                server.stop()
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main()
    except Missing as missing:
        sys.exit(f"error: {missing}")
