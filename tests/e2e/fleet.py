"""Workers of one stream and one lake: real processes that are started, killed, paused and stopped."""

import contextlib
import os
import re
import signal
import sqlite3
import subprocess
import time

from authpulse import PROGRAM, STOP_SECONDS, TIMEOUT_SECONDS, run, start


class Fleet:
    """Workers of one lake, which `words` name. Each is named by its number, and writes its log into a file of its own."""

    def __init__(self, directory, stream, words, config, env=None):
        self.directory, self.stream, self.words, self.config, self.env = directory, stream, words, config, env or {}
        self.workers, self.logs, self.names, self.errors = [], {}, {}, []

    def source(self):
        """The options that name the stream to the next worker."""
        return ["--stream", f"local:{self.stream}"]

    def add(self, program=PROGRAM):
        words = ["consume", *self.source(), *self.words, "--config", self.config]
        name = f"worker-{len(self.logs)}"
        log = self.directory / f"{self.stream.name}-{name}.log"
        # The name goes along with every call to AWS.
        env = {**os.environ, **self.env, "AUTHPULSE_LOG": "info", "NO_COLOR": "1", "AWS_SDK_UA_APP_ID": name}
        worker = start(*words, program=program, stdout=subprocess.DEVNULL, stderr=log.open("w"), env=env)
        self.logs[worker.pid], self.names[name] = log, worker
        self.workers.append(worker)
        return worker

    def log(self, worker):
        return self.logs[worker.pid].read_text()

    def logs_of_all(self):
        return "\n".join(log.read_text() for log in self.logs.values())

    def wait_for(self, worker, words):
        """Waits until the worker's log holds the words."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while words not in self.log(worker):
            assert worker.poll() is None or words in self.log(worker), f"it ended\n{self.log(worker)}"
            assert time.monotonic() < deadline, f"'{words}' never came\n{self.log(worker)}"
            time.sleep(0.02)

    def kill(self, worker):
        worker.kill()
        worker.wait()
        self.workers.remove(worker)

    def kill_all(self):
        """Leaves no process behind, however a test ended."""
        for worker in list(self.workers):
            self.kill(worker)

    def stop(self, worker):
        """Stops a worker in order, within the seconds that the product promises."""
        terminate(worker)
        assert worker.wait(STOP_SECONDS) == 0, self.log(worker)
        self.workers.remove(worker)

    def replace_ended(self):
        """Starts another worker for each that ended with an error, as a service manager does. Each must have said why."""
        for worker in [worker for worker in self.workers if worker.poll() not in (None, 0)]:
            log = self.log(worker)
            told = re.findall(r"^error: .*", log, re.MULTILINE)
            assert worker.returncode == 1 and told and "panicked" not in log, f"exit {worker.returncode}\n{log}"
            self.errors.append(told[-1])
            self.workers.remove(worker)
            self.add()

    def finish(self, errors_max=0):
        """Waits until every worker ends by itself at the end of the closed stream; only so many may need another start."""
        for worker in self.workers:
            worker.send_signal(signal.SIGCONT)
        allowed, deadline = len(self.errors) + errors_max, time.monotonic() + TIMEOUT_SECONDS
        while any(worker.poll() != 0 for worker in self.workers):
            late = [self.log(worker) for worker in self.workers if worker.poll() is None]
            assert time.monotonic() < deadline, "\n".join(["they never end", *late])
            if errors_max == 0:
                ended = [self.log(worker) for worker in self.workers if worker.poll() not in (None, 0)]
                assert not ended, ended[0]
            self.replace_ended()
            assert len(self.errors) <= allowed, "\n".join(self.errors)
            time.sleep(0.05)
        assert "panicked" not in self.logs_of_all()


def owners(stream):
    """How many shards each worker has, by the leases beside the stream."""
    connection = sqlite3.connect(f"file:{stream / 'leases.db'}?mode=ro", uri=True)
    try:
        # While the file is being made, there is no table yet.
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'leases'").fetchone():
            return {}
        rows = connection.execute("SELECT owner, count(*) FROM leases WHERE owner IS NOT NULL GROUP BY owner")
        return dict(rows.fetchall())
    finally:
        connection.close()


def until(condition, what, seconds=60, process=None):
    """Polls until a condition holds, and returns its value. Fails if `process` ends, which would have to bring it about."""
    deadline = time.monotonic() + seconds
    while not (said := condition()):
        assert process is None or process.poll() is None, f"the process ended before {what} came"
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.05)
    return said


def signals(process, field):
    """Which signals a process handles or ignores, by the kernel."""
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{process.pid}/status") as status:
        return next(line.split()[1] for line in status if line.startswith(field))
    return "0"


def handles(process, number):
    """Whether a process handles a signal yet: before that, the signal ends it at once."""
    return int(signals(process, "SigCgt"), 16) >> (number - 1) & 1


def terminate(process):
    """Tells a process to end in order, as soon as it handles that. The caller that waits for it sees if it has ended already."""
    if os.path.exists("/proc/self/status"):
        until(lambda: process.poll() is not None or handles(process, signal.SIGTERM), "the handling of signals")
    process.send_signal(signal.SIGTERM)


def open_shards(stream):
    """The open shards, in order of their ranges."""
    shown = run("stream", "describe", "--stream", f"local:{stream}").stdout
    shards = re.findall(r"^(shardId-\d+) (\S+) open", shown, re.MULTILINE)
    return [name for name, _ in sorted(shards, key=lambda shard: shard[1])]


def split_one(rng, stream):
    run("stream", "split", "--stream", f"local:{stream}", rng.choice(open_shards(stream)))
    return "split"


def merge_two(rng, stream):
    shards = open_shards(stream)
    at = rng.randrange(len(shards) - 1)
    run("stream", "merge", "--stream", f"local:{stream}", shards[at], shards[at + 1])
    return "merge"
