"""What is shipped along with the program. `deploy/release` itself builds, so it is run by hand."""

import json
import re
import subprocess
import sys

from authpulse import REPOSITORY

NOTICES = REPOSITORY / "deploy" / "notices.py"
SBOM = REPOSITORY / "deploy" / "sbom.py"


def locked():
    """Names and versions of all crates of Cargo.lock that are not our own."""
    lock = (REPOSITORY / "Cargo.lock").read_text("utf-8")
    return set(re.findall(r'^name = "(.+)"\nversion = "(.+)"\nsource = ', lock, re.MULTILINE))


def notices(place, *more):
    command = [sys.executable, NOTICES, place / "NOTICES", "--target", "x86_64-unknown-linux-gnu", *more]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_the_notices_name_each_crate_with_its_licence_and_an_sbom_must_name_them_too(tmp_path):
    done = notices(tmp_path)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "NOTICES").read_text("utf-8")
    named = set(re.findall(r"^(\S+) (\d\S*) \((?!see below).+\)", text, re.MULTILINE))
    assert done.stdout == f"{len(named)} crates\n"
    assert named <= locked(), "nothing is named that is not locked"
    # Crates with C code, of the default build, of AWS; crates that only tests and macros need are not shipped.
    names = {name for name, _ in named}
    assert {"zstd-sys", "libsqlite3-sys", "parquet", "tokio", "aws-lc-sys", "rustls"} <= names
    assert not names & {"proptest", "syn"}
    assert "Redistribution and use in source and binary forms" in text

    crates = [{"name": name, "version": version} for name, version in sorted(named)]
    sbom = tmp_path / "sbom.json"
    for components, code in [(crates, 0), (crates[1:], 1)]:
        sbom.write_text(json.dumps({"components": components}))
        done = notices(tmp_path, "--sbom", sbom)
        assert (done.returncode, crates[0]["name"] in done.stderr) == (code, code == 1), done.stderr


def test_an_sbom_is_the_same_wherever_and_whenever_it_is_made(tmp_path):
    def made(source, serial, time, more=""):
        sbom = {
            "bomFormat": "CycloneDX",
            "serialNumber": f"urn:uuid:{serial}",
            "metadata": {"timestamp": time, "component": {"bom-ref": f"path+file://{source}/crates/cli#authpulse@0.1.0"}},
            "components": [{"name": "zstd", "purl": "pkg:cargo/zstd@0.13.5"}, {"bom-ref": more or f"path+file://{source}/crates/kpl#0"}],
        }
        (tmp_path / "made").write_text(json.dumps(sbom))
        words = [sys.executable, SBOM, tmp_path / "made", tmp_path / "out", "--source", source]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        return done, (tmp_path / "out").read_text("utf-8")

    first, second = made("/tmp/a", 1, "2026-01-01T00:00:00Z"), made("/somewhere/else", 2, "2027-01-01T00:00:00Z")
    assert first[0].returncode == second[0].returncode == 0, (first, second)
    assert first[1] == second[1] and "path+file:///authpulse/crates/cli#authpulse@0.1.0" in first[1], first
    assert "serialNumber" not in first[1] and "timestamp" not in first[1]
    done, _ = made("/tmp/a", 1, "", more="path+file:///elsewhere/kpl#0")
    assert done.returncode == 1 and "/elsewhere/kpl" in done.stderr, done
