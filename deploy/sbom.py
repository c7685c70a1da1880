#!/usr/bin/env python3
"""Makes of an SBOM that cargo-cyclonedx wrote one that is the same wherever and whenever a commit is built.

    deploy/sbom.py IN OUT --source DIR

`DIR`, the sources it was made in, is `authpulse` afterwards wherever it is named; the random serial number and the time are left
out. It fails where a path of the machine is left.
"""

import argparse
import json
import re
import sys
from pathlib import Path

# What the sources are called instead of where they lay.
SOURCES = "/authpulse"


def tidied(text, source):
    """The text without what differs from one run to the next."""
    sbom = json.loads(text.replace(source, SOURCES))
    sbom.pop("serialNumber", None)
    sbom.get("metadata", {}).pop("timestamp", None)
    return json.dumps(sbom, indent=2, ensure_ascii=False) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sbom", type=Path, help="the file that cargo-cyclonedx wrote")
    parser.add_argument("out", type=Path, help="the file to write")
    parser.add_argument("--source", required=True, help="the directory that it was made in")
    options = parser.parse_args()
    text = tidied(options.sbom.read_text("utf-8"), options.source.rstrip("/"))
    if left := sorted({path for path in re.findall(r'file://(/[^"#?]*)', text) if not f"{path}/".startswith(f"{SOURCES}/")}):
        sys.exit(f"{options.sbom} names places of this machine: {', '.join(left[:5])}")
    options.out.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
