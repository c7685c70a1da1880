"""Chaos over S3 and Glue, and over Kinesis, see `chaos.py`. `AUTHPULSE_SEED` sets what happens when, `AUTHPULSE_KILLS` how many workers are killed."""

import os

import pytest

import nasty
from chaos import BUCKET, Chaos, ChaosOverKinesis
from emulator import Emulator, NodeKinesis
from fault_proxy import FaultProxy

SEED = int(os.environ.get("AUTHPULSE_SEED", "1"))
KILLS = max(20, int(os.environ.get("AUTHPULSE_KILLS", "20")))
PAUSES = max(5, KILLS // 4)
EVENTS_PER_SECOND = 250
DELAYS = {"s3": 0.005, "glue": 0.02, "dynamodb": 0.002, "kinesis": 0.002}


@pytest.fixture
def emulator():
    emulator = Emulator()
    emulator.client("s3").create_bucket(Bucket=BUCKET)
    yield emulator
    emulator.stop()


@pytest.fixture
def proxy(emulator):
    proxy = FaultProxy(emulator.endpoint, seed=SEED, delays=DELAYS)
    yield proxy
    proxy.stop()


def test_chaos_over_s3(tmp_path, emulator, proxy):
    nasty.write(tmp_path / "nasty.txt", seed=5, users=40, events=500 * KILLS, days=3)
    chaos = Chaos(tmp_path, emulator, proxy, "chaos", tmp_path / "nasty.txt", SEED)
    chaos.run(KILLS, PAUSES, faults=0.01, events_per_second=EVENTS_PER_SECOND)
    chaos.expect_the_rows_of_one_worker()
    chaos.expect_it_was_chaos(KILLS, PAUSES)


@pytest.fixture
def kinesis(emulator):
    kinesis = NodeKinesis("kinesis-local", emulator)
    yield kinesis
    kinesis.stop()


@pytest.fixture
def proxy_with_kinesis(emulator, kinesis):
    proxy = FaultProxy(emulator.endpoint, seed=SEED, delays=DELAYS, kinesis=kinesis.endpoint)
    yield proxy
    proxy.stop()


def test_chaos_over_kinesis(tmp_path, emulator, kinesis, proxy_with_kinesis):
    nasty.write(tmp_path / "nasty.txt", seed=6, users=40, events=500 * KILLS, days=3)
    nasty.keep_what_kinesis_carries(tmp_path / "nasty.txt")
    chaos = ChaosOverKinesis(tmp_path, emulator, kinesis, proxy_with_kinesis, "chaos", tmp_path / "nasty.txt", SEED)
    chaos.run(KILLS, PAUSES, faults=0.01, events_per_second=EVENTS_PER_SECOND)
    chaos.expect_the_rows_of_one_worker()
    chaos.expect_all_that_is_in_the_file()
    chaos.expect_it_was_chaos(KILLS, PAUSES)
