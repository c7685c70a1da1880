#!/usr/bin/env python3
"""Writes the licences of all crates that are in the program, as they ask for; with --sbom, checks that an SBOM names each of them.

    deploy/notices.py OUT [--sbom FILE] [--target TRIPLE]

Runs within the sources, of whose Cargo.lock it tells. Needs nothing but Python and cargo, which fetches
the crates that it does not have.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

PROGRAM = "authpulse"
# How a crate's files with its licence begin.
TEXTS = ("license", "licence", "copying", "copyright", "notice", "unlicense")


def cargo(*words):
    """What cargo prints."""
    return subprocess.run(["cargo", *words, "--locked"], stdout=subprocess.PIPE, check=True, text=True).stdout


def shipped(target):
    """The crates that are compiled into the program, own ones excepted; not what only tests or builds need."""
    tree = cargo(
        *("tree", "--package", PROGRAM, "--features", "aws", "--edges", "normal,no-proc-macro"),
        *("--target", target or "all", "--prefix", "none", "--format", "{p}"),
    )
    # `NAME vVERSION`, and for own crates where they lie.
    names = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    of_target = ["--filter-platform", target] if target else []
    found = json.loads(cargo("metadata", "--format-version", "1", "--features", f"{PROGRAM}/aws", *of_target))
    crates = [
        package
        for package in found["packages"]
        if package["source"] and (package["name"], f"v{package['version']}") in names
    ]
    own = {(package["name"], f"v{package['version']}") for package in found["packages"] if not package["source"]}
    if unknown := names - own - {(crate["name"], f"v{crate['version']}") for crate in crates}:
        sys.exit(f"cargo knows nothing of {sorted(unknown)}: no notices are written")
    return sorted(crates, key=lambda crate: (crate["name"], crate["version"]))


def texts(crate):
    """The files of a crate that hold its licences."""
    place = Path(crate["manifest_path"]).parent
    files = [file for file in place.iterdir() if file.is_file() and file.name.lower().startswith(TEXTS)]
    named = crate["license_file"] and place / crate["license_file"]
    if named and named.is_file() and named not in files:
        files.append(named)
    return [file.read_text("utf-8", "replace").strip() for file in sorted(files)]


def notices(crates):
    """All notices as one text: each licence once, with the crates that come under it in just these words."""
    by_text, without = {}, []
    for crate in crates:
        name = f"{crate['name']} {crate['version']} ({crate['license'] or 'see below'})"
        found = texts(crate)
        for text in found:
            by_text.setdefault(text, []).append(name)
        if not found:
            who = ", ".join(crate["authors"]) or "its authors"
            without.append(f"{name}, by {who}: {crate['repository'] or crate['homepage'] or 'crates.io'}")
    parts = ["AuthPulse is under the Apache License 2.0 (LICENSE). It is built of these crates, each under its own licence."]
    if without:
        parts.append("Without a text of their own; the licence is named in parentheses:\n\n" + "\n".join(without))
    parts += ["\n".join(names) + "\n\n" + text for text, names in sorted(by_text.items(), key=lambda item: item[1])]
    return ("\n\n" + "-" * 80 + "\n\n").join(parts) + "\n"


def lacking(crates, sbom):
    """The crates that an SBOM in CycloneDX's JSON does not name."""
    named = {(part["name"], part["version"]) for part in json.loads(sbom.read_text("utf-8"))["components"]}
    return [f"{crate['name']} {crate['version']}" for crate in crates if (crate["name"], crate["version"]) not in named]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--sbom", type=Path, help="an SBOM to check")
    parser.add_argument("--target", help="what the program is built for; all systems if it is not given")
    options = parser.parse_args()
    crates = shipped(options.target)
    options.out.write_text(notices(crates), "utf-8")
    if options.sbom and (missing := lacking(crates, options.sbom)):
        sys.exit(f"{options.sbom} does not name {len(missing)} crates of the program: {', '.join(missing)}")
    print(f"{len(crates)} crates")


if __name__ == "__main__":
    main()
