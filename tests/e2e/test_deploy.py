"""The units under deploy/, checked by systemd itself, and what a service leaves readable for others."""

import os
import shutil
import signal
import stat
import subprocess
import sys

import pytest

import nasty
from authpulse import PROGRAM, REPOSITORY, STOP_SECONDS, run, start
from fleet import until

UNITS = ["authpulse-consume.service", "authpulse-consume@.service"]
# What systemd calls an exposure of 2.0.
EXPOSURE_MAX = 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is of Linux")


def analyze(*words, **popen):
    return subprocess.run(["systemd-analyze", *map(str, words)], capture_output=True, text=True, timeout=60, **popen)


def settings(name):
    lines = (REPOSITORY / "deploy" / name).read_text().replace("\\\n", " ").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_valid_and_exposes_little(tmp_path, name):
    unit = (REPOSITORY / "deploy" / name).read_text()
    # Where the program is on this machine.
    copy = tmp_path / name.replace("@", "@1")
    copy.write_text(unit.replace("/usr/local/bin/authpulse", str(PROGRAM.resolve())))
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    verified = analyze("verify", "--man=no", copy, env=environment)
    assert verified.returncode == 0 and str(copy.name) not in verified.stderr, verified.stderr
    judged = analyze("security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager", copy)
    assert judged.returncode == 0, f"{judged.stdout}\n{judged.stderr}"


@pytest.mark.parametrize("name", UNITS)
def test_a_service_is_started_again_for_as_long_as_it_takes(name):
    unit = settings(name)
    wanted = {
        "StartLimitIntervalSec": "0",
        "Restart": "always",
        "RestartPreventExitStatus": "0 2",
        "RestartSec": "30",
        "ExecReload": "/bin/kill -HUP $MAINPID",
    }
    assert {key: unit.get(key) for key in wanted} == wanted
    # What systemd tells this command about the service's end.
    command = unit["ExecStopPost"].removeprefix("/bin/sh -c ").strip("'").replace("%n", "authpulse")
    for result, code, status, told in [
        ("success", "exited", "0", ""),
        ("exit-code", "exited", "1", "<3>authpulse ended: exit-code, exited 1; see docs/operations.md, section 8\n"),
        ("signal", "killed", "KILL", "<3>authpulse ended: signal, killed KILL; see docs/operations.md, section 8\n"),
    ]:
        environment = {"SERVICE_RESULT": result, "EXIT_CODE": code, "EXIT_STATUS": status, "PATH": os.environ["PATH"]}
        ended = subprocess.run([shutil.which("sh"), "-c", command], env=environment, capture_output=True, text=True)
        assert (ended.returncode, ended.stdout) == (0, told)
    assert "RestartSteps" not in unit, "unknown before systemd 254: it is in the drop-in"
    assert settings("authpulse-consume-backoff.conf") == {"RestartSteps": "5", "RestartMaxDelaySec": "600"}


# --- who may read what is written ---------------------------------------------------------------------------------

CONFIG = """\
[store]
roll_age = 0.1
commit_interval = 0.1
snapshot_rows = 100
group_read = {group}
[decisions]
to = "file:{decisions}"
min_score = 0
"""


def rights(*places):
    """Each path below the places, and its rights."""
    found = {}
    for place in places:
        for path in [place, *place.rglob("*")]:
            try:
                found[path] = oct(stat.S_IMODE(path.lstat().st_mode)), path.is_dir()
            except FileNotFoundError:
                # A temporary file, gone meanwhile.
                continue
    return found


def wrong(found, group):
    wanted = {True: "0o750" if group else "0o700", False: "0o640" if group else "0o600"}
    return {str(path): mode for path, (mode, is_dir) in found.items() if mode != wanted[is_dir]}


@pytest.mark.parametrize("group, mask", [(False, 0o022), (False, 0), (True, 0o022), (True, 0o077)])
def test_what_is_written_is_private(tmp_path, group, mask):
    stream, lake, decisions = tmp_path / "a" / "stream", tmp_path / "b" / "lake", tmp_path / "decisions.jsonl"
    config, log = tmp_path / "config.toml", tmp_path / "log"
    config.write_text(CONFIG.format(group=str(group).lower(), decisions=decisions))
    nasty.write(tmp_path / "nasty.txt", events=2_000)
    words = ["--stream", f"local:{stream}", "--config", config]
    run("replay", "--input", tmp_path / "nasty.txt", *words, "--max", "--shards", 2, umask=mask)
    worker = start("consume", *words, "--lake", lake, umask=mask, stdout=subprocess.DEVNULL, stderr=log.open("w"))
    try:
        names = ["journal.db-wal", "journal.db-shm", "catalog.db-wal", ".committer.lock", "raw/*/*", "state/*"]
        names += ["warehouse/auth_events_rejected/data/*/*", "warehouse/auth_events_curated/data/*/*"]
        until(lambda: all(list(lake.glob(name)) for name in names), "a lake with everything in it", process=worker)
        until(lambda: list(stream.glob(".worker-*")) and (stream / "leases.db-shm").exists(), "leases", process=worker)
        found = rights(stream.parent, lake.parent, decisions)
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(STOP_SECONDS) == 0, log.read_text()
    assert len(found) > 40 and wrong({**found, **rights(stream.parent, lake.parent)}, group) == {}
    assert "chmod" not in log.read_text()
    run("tables", "maintain", "--lake", lake, "--config", config, umask=mask)
    assert wrong(rights(lake), group) == {}


def test_a_demo_is_private(tmp_path):
    run("demo", "--lake", tmp_path / "lake", "--events", 3_000, umask=0o022)
    found = rights(tmp_path / "lake")
    assert len(found) > 30 and wrong(found, group=False) == {}
    assert tmp_path / "lake" / "demo" / "labels.csv" in found


def test_what_others_can_read_already_is_told_once(tmp_path):
    stream, lake, decisions = tmp_path / "stream", tmp_path / "lake", tmp_path / "decisions.jsonl"
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(group="false", decisions=decisions))
    (tmp_path / "few.txt").write_text("7000,U1,C1\n7001,U2,C1\n")
    run("replay", "--input", tmp_path / "few.txt", "--stream", f"local:{stream}", "--max")
    words = ["consume", "--stream", f"local:{stream}", "--lake", lake, "--config", config, "--until-caught-up"]
    assert "chmod" not in run(*words).stderr
    subprocess.run(["chmod", "-R", "a+rX", stream, lake, decisions], check=True)
    told = run(*words, env={"NO_COLOR": "1"}).stderr
    commands = f"chmod -R g=,o= {lake} && chmod -R g=,o= {stream} && chmod g=,o= {decisions}"
    assert told.count("chmod") == 3 and told.count("WARN") == 1 and commands in told, told
    assert oct(stat.S_IMODE((lake / "journal.db").stat().st_mode)) == "0o644", "it is the operator's to change"
    subprocess.run(commands, shell=True, check=True)
    assert "chmod" not in run(*words).stderr
    assert wrong(rights(stream, lake, decisions), group=False) == {}
    config.write_text(CONFIG.format(group="true", decisions=decisions))
    told = run(*words).stderr
    commands = f"chmod -R g=rX,o= {lake}"
    assert told.count("chmod") == 1 and commands in told, told
    subprocess.run(commands, shell=True, check=True)
    assert "chmod" not in run(*words).stderr
    assert wrong(rights(lake), group=True) == {}
