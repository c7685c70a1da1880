#!/usr/bin/env python3
"""Workers of Amazon's own Kinesis Client Library (KCL), and DynamoDB Local, which is Amazon's too.

    python3 tests/e2e/kcl.py install      downloads and compiles them, once

Maven fetches them, by its own settings, into AUTHPULSE_KCL_CACHE (default: ~/.cache/authpulse-kcl; about 200 MB), outside
of the checkout. tests/kcl has what a worker does.
"""

import base64
import hashlib
import os
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

from emulator import Endpoint
from fleet import until
from jvm import Jdk, Maven, Missing, call, free_port, installing

SOURCES = Path(__file__).resolve().parents[1] / "kcl"
CACHE = Path(os.environ.get("AUTHPULSE_KCL_CACHE") or Path.home() / ".cache" / "authpulse-kcl")
LIBRARIES = ("kcl2", "kcl3")
START_SECONDS = 120
# A worker gives itself 40 s to stop.
STOP_SECONDS = 60

Delivered = namedtuple("Delivered", "shard sequence sub_sequence milliseconds key data")


def install():
    """Makes sure that everything is in the cache; returns where: jars, compiled workers, JDK."""
    jdk = Jdk()
    jars = CACHE / f"jars-{_digest([SOURCES / 'pom.xml'])}"
    with installing(jars) as new:
        if new:
            with Maven(jdk, new) as maven:
                for profile in (*LIBRARIES, "dynamodb"):
                    maven.copy(SOURCES / "pom.xml", new / profile, "-P", profile)
    files = sorted(SOURCES.rglob("*.java"))
    workers = CACHE / f"workers-{_digest([SOURCES / 'pom.xml', *files])}"
    with installing(workers) as new:
        if new:
            for library in LIBRARIES:
                sources = [file for file in files if file.parent in (SOURCES, SOURCES / library)]
                call(jdk.javac, "-d", new / library, "-cp", f"{jars / library}/*", *sources)
    return jars, workers, jdk


def _digest(files):
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


class DynamoDb(Endpoint):
    """A running DynamoDB Local, in memory."""

    def __init__(self, place):
        jars, _, jdk = install()
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        words = [jdk.java, "-Xmx256m", f"-Djava.library.path={jars}/dynamodb", "-cp", f"{jars}/dynamodb/*"]
        words += ["com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-inMemory", "-disableTelemetry", "-port", port]
        with open(place / "dynamodb.log", "wb") as log:
            self._process = subprocess.Popen(list(map(str, words)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=place)
        until(self._answers, "an answer of DynamoDB Local", START_SECONDS, self._process)

    def _answers(self):
        try:
            self.client("dynamodb").list_tables()
            return True
        except Exception:
            return False

    def stop(self):
        self._process.kill()
        self._process.wait()


class Worker:
    """A running worker of a KCL: `library` is kcl2 or kcl3. A file in `place` has the records it was given."""

    def __init__(self, library, stream, application, name, place, kinesis, *words):
        jars, workers, jdk = install()
        self.file, self.log = (place / f"{application}-{name}.{end}" for end in ("records", "log"))
        java = [jdk.java, "-Xmx256m", "-Daws.cborEnabled=false", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        java += ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{workers / library}:{jars / library}/*", "Worker"]
        java += [stream, application, name, kinesis.endpoint, kinesis.dynamodb.endpoint, self.file, *words]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(list(map(str, java)), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def delivered(self):
        """Every record so far, in the order in which they were given to the application."""
        if not self.file.exists():
            return []
        found = []
        for line in self.file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                shard, sequence, sub, milliseconds, key, data = line[:-1].split("\t")
                key, data = base64.b64decode(key).decode(), base64.b64decode(data)
                found.append(Delivered(shard, int(sequence), int(sub), int(milliseconds), key, data))
        return found

    def until(self, what, condition, seconds=START_SECONDS):
        """Waits for a condition while the worker lives."""
        try:
            return until(condition, what, seconds, self.process)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-3000:]}") from error

    def wait(self, seconds=START_SECONDS):
        """Waits until the worker has stopped by itself."""
        code = self.process.wait(seconds)
        assert code == 0, f"it ended with {code}\n{self.log.read_text()[-3000:]}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.wait(STOP_SECONDS)

    def kill(self):
        self.process.kill()
        self.process.wait()


def main():
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    try:
        print(install()[0])
    except Missing as missing:
        sys.exit(f"error: {missing}")


if __name__ == "__main__":
    main()
