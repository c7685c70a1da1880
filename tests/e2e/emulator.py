"""S3, Glue, DynamoDB and Kinesis on this machine: ministack, started on a free port and ended with the tests."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import boto3
import trustme
from botocore.config import Config

START_SECONDS = 60


class Endpoint:
    """Something that speaks as AWS does, at `endpoint`."""

    KEY = "test"
    REGION = "us-east-1"

    @property
    def env(self):
        """The environment that AWS tools and SDKs read, and so does the program under test."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.REGION,
            "AWS_ACCESS_KEY_ID": self.KEY,
            "AWS_SECRET_ACCESS_KEY": self.KEY,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service, config=None):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.REGION,
            aws_access_key_id=self.KEY,
            aws_secret_access_key=self.KEY,
            config=config,
        )

    def _until_it_answers(self, name, ask, not_yet):
        """Asks the process that was just started until it answers; until then, asking raises `not_yet`."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return ask()
            except not_yet:
                assert self._process.poll() is None, f"{name} ended at its start"
                assert time.monotonic() < deadline, f"{name} does not answer after {START_SECONDS} s"
                time.sleep(0.05)


class Emulator(Endpoint):
    """A running ministack."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._directory = tempfile.TemporaryDirectory()
        settings = {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "s3,glue,sts,dynamodb,kinesis",
            "TMPDIR": self._directory.name,
            "LOG_LEVEL": "ERROR",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ministack"],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        health = f"{self.endpoint}/_ministack/health"
        self._until_it_answers("ministack", lambda: urllib.request.urlopen(health, timeout=5).close(), OSError)

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()


# Below AUTHPULSE_NODE: ./test installs them. kinesis-local is the better Kinesis, kinesalite the second opinion.
NODE = Path(os.environ.get("AUTHPULSE_NODE", Path(__file__).resolve().parents[2] / ".venv-node"))


class NodeKinesis(Endpoint):
    """A Kinesis that reshards: kinesis-local or kinesalite. DynamoDB comes from another emulator."""

    def __init__(self, name, dynamodb):
        self.name, self.dynamodb = name, dynamodb
        with socket.socket() as plain, socket.socket() as tls:
            plain.bind(("127.0.0.1", 0))
            tls.bind(("127.0.0.1", 0))
            port, tls_port = plain.getsockname()[1], tls.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        package = NODE / "node_modules" / name
        assert package.exists(), f"there is no {name} in {NODE}: run ./test once, or set AUTHPULSE_NODE"
        settings = {}
        if name == "kinesis-local":
            command = [package / "main.js"]
            settings = {
                "KINESIS_MOCK_PLAIN_PORT": str(port),
                "KINESIS_MOCK_TLS_PORT": str(tls_port),
                "KINESIS_MOCK_CERT_PATH": str(package / "server.json"),
                "SHARD_LIMIT": "1000",
                "LOG_LEVEL": "ERROR",
            }
        else:
            command = [package / "cli.js", "--port", str(port), "--shardLimit", "1000"]
        self._process = subprocess.Popen(
            ["node", *map(str, command)],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._until_it_answers(name, lambda: self.client("kinesis").list_streams(), Exception)

    @property
    def env(self):
        return {**self.dynamodb.env, "AWS_ENDPOINT_URL_KINESIS": self.endpoint}

    def client(self, service):
        if service != "kinesis":
            return self.dynamodb.client(service)
        return super().client(service, Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=20))

    def stop(self):
        self._process.kill()
        self._process.wait()


class Http2Front(Endpoint):
    """Kinesis by HTTP/2 over TLS, in front of an emulator that speaks HTTP/1.1."""

    def __init__(self, behind, directory):
        self.behind, self._log = behind, directory / "http2.log"
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self._trusted = directory / "authority.pem"
        authority.cert_pem.write_to_path(self._trusted)
        chain, key = directory / "chain.pem", directory / "key.pem"
        certificate.cert_chain_pems[0].write_to_path(chain)
        certificate.private_key_pem.write_to_path(key)
        script = Path(__file__).resolve().parents[1] / "node" / "http2_front.js"
        self._process = subprocess.Popen(
            ["node", script, chain, key, behind.endpoint],
            stdin=subprocess.DEVNULL,
            stdout=self._log.open("w"),
            stderr=subprocess.PIPE,
            text=True,
        )
        port = self._process.stderr.readline()
        assert port.strip().isdigit(), f"the front does not listen: {port}"
        self.endpoint = f"https://localhost:{port.strip()}"

    @property
    def env(self):
        return {**self.behind.env, "AWS_ENDPOINT_URL_KINESIS": self.endpoint, "SSL_CERT_FILE": str(self._trusted)}

    def calls(self):
        """Session and operation of each call, in order."""
        return [tuple(line.split(" ")) for line in self._log.read_text().splitlines()]

    def stop(self):
        self._process.kill()
        self._process.wait()
