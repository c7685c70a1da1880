"""A service's threads and memory are bounded, however many shards it works on."""

import os
import re
import sys
import time
from pathlib import Path

import pytest

from authpulse import run, start

SHARDS = 64
# The bound for records and rows of all shards; the program itself, its state and what the allocator keeps come on top.
MEMORY = 64 << 20
RESIDENT_MAX = 512 << 20


def threads_max():
    """The most threads: of the runtime, those that store, and those that the stream's database blocks, with some to spare."""
    return 8 * len(os.sched_getaffinity(0)) + 16


def watched(process):
    """The most threads and bytes that a process had until it ended."""
    threads = resident = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        told = dict(re.findall(r"^(Threads|VmHWM):\s+(\d+)", status.read_text("utf-8"), re.MULTILINE))
        threads = max(threads, int(told.get("Threads", 0)))
        resident = max(resident, int(told.get("VmHWM", 0)) << 10)
        # A pause, since the watched process needs the processors.
        time.sleep(0.02)
    return threads, resident


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of threads in /proc")
def test_threads_and_memory_do_not_grow_with_the_shards(tmp_path):
    stream = f"local:{tmp_path / 'stream'}"
    run("generate", "--profile", "simple", "--out", tmp_path / "events.txt", "--events", 150_000)
    run("replay", "--input", tmp_path / "events.txt", "--stream", stream, "--shards", SHARDS, "--max")
    config = tmp_path / "authpulse.toml"
    config.write_text(f"[store]\nmemory = {MEMORY}\nroll_age = 1\n")
    words = ["--stream", stream, "--lake", tmp_path / "lake", "--config", config, "--until-caught-up"]
    process = start("consume", *words)
    threads, resident = watched(process)
    assert process.returncode == 0
    assert threads <= threads_max(), f"{SHARDS} shards took {threads} threads"
    assert resident <= RESIDENT_MAX, f"{SHARDS} shards took {resident >> 20} MiB"
