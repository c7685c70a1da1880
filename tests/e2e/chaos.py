"""Everything at once, with real processes: workers of a lake on S3 are killed, paused and cut off while their stream is split and
merged and calls fail. The result must be the lake that one worker alone makes of the same stream, undisturbed, in a directory.
"""

import os
import random
import signal
import subprocess
import time

from authpulse import TIMEOUT_SECONDS, run, start
from fault_proxy import CUT, GLUE
from fleet import Fleet, merge_two, split_one, until
from read_lake import CURATED, HOURLY, TABLES, Lake, S3Lake, assert_same

BUCKET = "authpulse-chaos"
WORKERS, SHARDS = 4, 8
LEASE_SECONDS = 1.0

CONFIG = f"""
[store]
roll_rows = 400
roll_age = 0.7
commit_interval = 0.7
snapshot_rows = 1000
[run]
poll_interval = 0.05
[workers]
follow_interval = 0.5
lease_duration = {LEASE_SECONDS}
lease_scan = 0.3
[s3]
answer_timeout = 5
"""

# Several times as long as a lease lasts.
AWAY_SECONDS = 2.5 * LEASE_SECONDS
# Every service is called more often than that by workers at work; should all of them be paused, the chaos goes on.
MISSED_WITHIN_SECONDS = 30
# A worker that cannot go on ends and says why. This is how often that may happen in one run.
ERRORS_MAX = 60


class Chaos:
    """One run. `at_work` is called once the tables have rows, `meanwhile` between events."""

    def __init__(self, place, emulator, proxy, name, events, seed, meanwhile=lambda: None, at_work=lambda: None):
        self.place, self.emulator, self.proxy, self.name = place, emulator, proxy, name
        self.events, self.meanwhile, self.at_work = events, meanwhile, at_work
        self.rng = random.Random(f"{seed} {name}")
        self.seed, self.config = seed, place / "chaos.toml"
        self.config.write_text(CONFIG)
        self.stream = place / f"{name}-stream"
        self.words = ["--lake", f"s3://{BUCKET}/{name}", "--catalog", f"glue:{name}"]
        self.fleet = self.make_fleet(proxy.env(emulator))
        self.away = []
        self.count = dict.fromkeys(("kill", "pause", "split", "merge", "cut"), 0)

    def lake(self):
        return S3Lake(f"s3://{BUCKET}/{self.name}", self.name, self.emulator)

    def run(self, kills, pauses, faults, events_per_second):
        self.make_stream()
        for _ in range(WORKERS):
            self.fleet.add()
        replay = self.start_replay(events_per_second)
        try:
            # The first rows are in the tables, so all that follows disturbs workers at work.
            until(lambda: self.committed() > 0, "a first commit")
            self.at_work()
            self.proxy.chance(faults)
            todo = ["kill"] * kills + ["pause"] * (pauses - 1) + ["split"] * 3 + ["merge"] * 2 + list(self.proxy.services)
            self.rng.shuffle(todo)
            todo.insert(len(todo) // 2, "pause in a commit")
            while todo or self.away:
                self.meanwhile()
                self.fleet.replace_ended()
                self.come_back()
                time.sleep(self.rng.uniform(0.1, 1.2))
                if todo:
                    self.do(todo.pop())
            assert replay.wait(TIMEOUT_SECONDS) == 0
            self.proxy.chance(0)
            self.finish()
        finally:
            replay.kill()
            self.fleet.kill_all()

    # What depends on the kind of stream.

    def make_fleet(self, env):
        return Fleet(self.place, self.stream, self.words, self.config, env)

    def make_stream(self):
        run("stream", "create", "--stream", f"local:{self.stream}", "--shards", SHARDS)

    def start_replay(self, events_per_second):
        words = ["--stream", f"local:{self.stream}", "--rate", events_per_second, "--batch-size", 20]
        return start("replay", "--input", self.events, *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def reshard(self, what):
        (split_one if what == "split" else merge_two)(self.rng, self.stream)

    def finish(self):
        """Lets undisturbed workers read everything."""
        run("stream", "close", "--stream", f"local:{self.stream}")
        self.fleet.finish(ERRORS_MAX)

    def consume_alone(self, lake):
        run("consume", "--stream", f"local:{self.stream}", "--lake", lake, "--config", self.config)

    def committed(self):
        """How many commits the table of events has had so far."""
        return sum(a.subject.endswith(f".{CURATED}") and a.status == 200 for a in self.updates())

    def updates(self):
        return [answer for answer in list(self.proxy.answered) if answer.subject.startswith("UpdateTable ")]

    def running(self):
        stopped = {id(worker) for worker, _ in self.away}
        return [w for w in self.fleet.workers if w.poll() is None and id(w) not in stopped]

    def someone_runs(self):
        self.fleet.replace_ended()
        self.come_back()
        return self.running()

    def do(self, what):
        if what in self.proxy.services:
            self.proxy.cut(what)
            self.away.append((what, time.monotonic()))
            self.count["cut"] += 1
        elif what == "pause in a commit":
            self.pause_in_a_commit()
        elif what in ("split", "merge"):
            self.reshard(what)
            self.count[what] += 1
        else:
            until(self.someone_runs, "a worker that runs")
            worker = self.rng.choice(self.running())
            if what == "pause":
                worker.send_signal(signal.SIGSTOP)
                self.away.append((worker, time.monotonic()))
            else:
                self.fleet.kill(worker)
                self.fleet.add()
            self.count[what] += 1

    def come_back(self, all_of_them=False):
        """Brings back what was away for longer than a lease lasts: others have its shards by now. A service also until a worker has
        missed it."""
        for what, since in list(self.away):
            while all_of_them and self.is_to_stay_away(what, since):
                self.fleet.replace_ended()
                time.sleep(0.1)
            if self.is_to_stay_away(what, since):
                continue
            self.away.remove((what, since))
            if what in self.proxy.services:
                self.proxy.mend(what)
            else:
                what.send_signal(signal.SIGCONT)

    def is_to_stay_away(self, what, since):
        away = time.monotonic() - since
        is_missed = what not in self.proxy.services or self.proxy.faults[what, "", CUT] > 0
        return away < AWAY_SECONDS or (not is_missed and away < MISSED_WITHIN_SECONDS)

    def pause_in_a_commit(self):
        """Pauses a committer between its commit's request and the answer, and holds the request until another worker has committed to
        the same table. The request must be refused: it rests on a state that is no longer current."""
        self.come_back(all_of_them=True)
        hold = self.proxy.hold(GLUE, "UpdateTable", lambda call: call.subject.endswith(f".{CURATED}"))
        call = hold.wait()
        worker = self.fleet.names[call.caller]
        worker.send_signal(signal.SIGSTOP)
        begun = len(self.proxy.answered)

        def overtaken():
            self.fleet.replace_ended()
            later = self.proxy.answered[begun:]
            return any(a.caller != call.caller and a.subject == call.subject and a.status == 200 for a in later)

        until(overtaken, "a commit by another worker")
        hold.release()
        worker.send_signal(signal.SIGCONT)
        assert hold.status == 400, f"a commit that was overtaken was accepted: {hold.status}"
        self.count["pause"] += 1

    def expect_the_rows_of_one_worker(self):
        """Checks this by the program's own audit, and by PyIceberg and DuckDB, which must agree on each row."""
        alone = self.place / f"{self.name}-alone"
        self.consume_alone(alone)
        one, many = Lake(alone), self.lake()
        for table in TABLES:
            assert_same(one.comparable(table), many.comparable(table), f"{table} after the chaos")
        raw = [[(r["shard_id"], r["sequence_number"], r["payload"]) for r in each.raw()] for each in (one, many)]
        assert raw[0] == raw[1], "raw after the chaos"
        run("verify", *self.words, "--config", self.config, env=self.emulator.env)
        hours = {row["window_start"] for row in many.rows(HOURLY)}
        assert len({hour.date() for hour in hours}) > 1 < len(hours), "no edge of an hour and of a day was crossed"
        return many

    def expect_it_was_chaos(self, kills, pauses):
        # How often a worker took over a shard without waiting for the one before.
        epochs = {}
        for entry in self.lake().entries():
            epochs[entry["shard"]] = max(epochs.get(entry["shard"], 1), entry["epoch"])
        taken = sum(epoch - 1 for epoch in epochs.values())
        print(f"{self.count}, {taken} shards taken over, {len(self.fleet.errors)} ends with an error, {self.committed()} commits to {CURATED}")
        print(f"{sum(self.proxy.calls.values())} calls, faults {dict(self.proxy.faults)}")
        print("\n".join(self.fleet.errors))
        print(f"seed {self.seed}")
        assert self.count["kill"] >= kills and self.count["pause"] >= pauses
        assert all(self.proxy.faults[service, "", CUT] for service in self.proxy.services), "a cut that nobody noticed"
        assert taken >= pauses, f"shards taken over: {epochs}"


class KinesisFleet(Fleet):
    """Workers of a stream in Kinesis; every other one subscribes, the others poll."""

    def source(self):
        reading = ["fan-out", "polling"][len(self.logs) % 2]
        return ["--stream", f"kinesis:{self.stream.name}", "--app", self.stream.name, "--reading", reading]


class ChaosOverKinesis(Chaos):
    """The same over a stream in Kinesis, which is cut off like any other service. `kinesis` is its emulator."""

    def __init__(self, place, emulator, kinesis, proxy, name, events, seed):
        self.kinesis = kinesis
        super().__init__(place, emulator, proxy, name, events, seed)
        # Three days pass in a minute, so records that are sent again after a reshard are late by minutes of event time.
        self.config.write_text(CONFIG + "[engine]\ntolerance = 3500\n")

    @property
    def address(self):
        return f"kinesis:{self.stream.name}"

    def make_fleet(self, env):
        return KinesisFleet(self.place, self.stream, self.words, self.config, env)

    def make_stream(self):
        run("stream", "create", "--stream", self.address, "--shards", SHARDS, env=self.kinesis.env)

    def start_replay(self, events_per_second):
        words = ["--stream", self.address, "--rate", events_per_second, "--batch-size", 20, "--progress", self.place]
        env = {**os.environ, **self.kinesis.env}
        return start("replay", "--input", self.events, *words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def reshard(self, what):
        shards = self.kinesis.client("kinesis").list_shards(StreamName=self.stream.name)["Shards"]
        shards = [shard for shard in shards if "EndingSequenceNumber" not in shard["SequenceNumberRange"]]
        shards.sort(key=lambda shard: int(shard["HashKeyRange"]["StartingHashKey"]))
        at = self.rng.randrange(len(shards) - 1)
        names = [shard["ShardId"] for shard in shards[at : at + (1 if what == "split" else 2)]]
        run("stream", what, "--stream", self.address, *names, env=self.kinesis.env)

    def finish(self):
        """Stops the workers in order, and lets one read up to the tips: no stream in Kinesis ever ends."""
        self.fleet.replace_ended()
        for worker in list(self.fleet.workers):
            worker.send_signal(signal.SIGCONT)
            self.fleet.stop(worker)
        assert "panicked" not in self.fleet.logs_of_all()
        words = ["--stream", self.address, "--app", self.stream.name, *self.words, "--config", self.config]
        run("consume", *words, "--seal", env=self.kinesis.env)

    def consume_alone(self, lake):
        words = ["--stream", self.address, "--app", f"{self.stream.name}-alone", "--lake", lake, "--config", self.config]
        run("consume", *words, "--seal", env=self.kinesis.env)

    def expect_all_that_is_in_the_file(self):
        """Sends the file once more, into an embedded stream that is not split. The worker alone reads the same stream as the others,
        so records that the producer lost would be missing in both."""
        calm = self.place / "calm"
        run("replay", "--input", self.events, "--stream", f"local:{calm}", "--max")
        run("consume", "--stream", f"local:{calm}", "--lake", self.place / "calm-lake", "--config", self.config, "--seal")
        wanted, found = ({row["payload"] for row in lake.raw()} for lake in (Lake(self.place / "calm-lake"), self.lake()))
        assert wanted == found, f"{len(wanted - found)} of {len(wanted)} records are missing, {len(found - wanted)} are strange"

    def expect_it_was_chaos(self, kills, pauses):
        super().expect_it_was_chaos(kills, pauses)
        log = self.fleet.logs_of_all()
        subscribed = log.count(" subscribed ")
        print(f"{subscribed} subscriptions")
        assert subscribed > SHARDS and "by polling" in log, "nobody took turns"
