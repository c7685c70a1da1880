"""Programs on the JVM that tests run: which JDK, and what Maven fetches for them, once, outside of the checkout."""

import fcntl
import os
import re
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
# Newer ones may work, but were not tried.
JAVA = range(17, 22)
INSTALL_SECONDS = 900


class Missing(Exception):
    """Something that the machine must have."""


class Jdk:
    """The tools of the first JDK that fits: JAVA_HOME's, then PATH's, then those where Debian puts them."""

    def __init__(self):
        tried = []
        homes = [Path(home) / "bin" for home in [os.environ.get("JAVA_HOME")] if home]
        homes += [Path(javac).parent for javac in [shutil.which("javac")] if javac]
        homes += [home / "bin" for home in sorted(Path("/usr/lib/jvm").glob("*-1[7-9]-*"))]
        for home in homes:
            if not (home / "javac").is_file():
                continue
            said = subprocess.run([home / "javac", "-version"], capture_output=True, text=True)
            major = re.search(r"javac (\d+)", said.stdout + said.stderr)
            tried.append(f"{home}: {major[0] if major else 'no version'}")
            if major and int(major[1]) in JAVA:
                self.java, self.javac, self.jar = home / "java", home / "javac", home / "jar"
                return
        found = f"; found {', '.join(tried)}" if tried else ""
        raise Missing(
            f"a JDK of version {JAVA[0]} to {JAVA[-1]} is needed "
            f"(Debian, Ubuntu: apt-get install openjdk-17-jdk-headless; elsewhere set JAVA_HOME){found}"
        )


@contextmanager
def installing(home):
    """Yields a directory to fill, which becomes `home` if that went well; nothing if `home` exists."""
    if (home / "complete").exists():
        yield None
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at the same time fetch it once
        if (home / "complete").exists():
            yield None
            return
        new = home.parent / "new"
        for stale in (new, home):
            shutil.rmtree(stale, ignore_errors=True)
        new.mkdir()
        yield new
        (new / "complete").touch()
        new.rename(home)


def call(*words, **popen):
    """Runs a tool, which must succeed."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=INSTALL_SECONDS, **popen)
    if done.returncode:
        raise RuntimeError(f"$ {' '.join(map(str, words))}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


class Maven:
    """Maven with a repository of its own, which is removed once everything is copied out of it."""

    def __init__(self, jdk, directory):
        maven = shutil.which("mvn")
        if not maven:
            raise Missing("Maven is needed (Debian, Ubuntu: apt-get install maven)")
        self.repository = directory / "repository"
        self._words = [maven, "-q", "-B", f"-Dmaven.repo.local={self.repository}"]
        self._popen = {"env": {**os.environ, "JAVA_HOME": str(jdk.java.parent.parent)}, "cwd": directory}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.repository, ignore_errors=True)

    def goal(self, goal, *words):
        """Runs a goal of the plugin for dependencies."""
        call(*self._words, f"{DEPENDENCY_PLUGIN}:{goal}", *words, **self._popen)

    def copy(self, pom, into, *words):
        """Copies what a program needs to run."""
        self.goal("copy-dependencies", "-f", pom, "-DincludeScope=runtime", f"-DoutputDirectory={into}", *words)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
