"""S3, Glue and DynamoDB on this machine: ministack, started on a free port and ended with the tests."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import boto3

START_SECONDS = 60


class Emulator:
    """A running ministack."""

    KEY = "test"
    REGION = "us-east-1"

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._directory = tempfile.TemporaryDirectory()
        settings = {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "SERVICES": "s3,glue,sts,dynamodb",
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
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint}/_ministack/health", timeout=5).close()
                return
            except OSError:
                assert self._process.poll() is None, "ministack ended at its start"
                assert time.monotonic() < deadline, f"ministack does not answer after {START_SECONDS} s"
                time.sleep(0.05)

    @property
    def env(self):
        """What the AWS tools and SDKs read, and so the program under test."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.REGION,
            "AWS_ACCESS_KEY_ID": self.KEY,
            "AWS_SECRET_ACCESS_KEY": self.KEY,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service):
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.REGION,
            aws_access_key_id=self.KEY,
            aws_secret_access_key=self.KEY,
        )

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()
