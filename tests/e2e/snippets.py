"""The Python snippets of a page, and what the page says they print."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "query.md"
SECONDS = 300

_SNIPPET = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets():
    """Code and output, by the heading above them."""
    found = {}
    for section in PAGE.read_text().split("\n## ")[1:]:
        heading = section.splitlines()[0]
        blocks = _SNIPPET.findall(section)
        assert len(blocks) == section.count("```python") == 1, f"one snippet with its output under {heading}"
        found[heading] = blocks[0]
    return found


def check(heading, directory, **environment):
    """Runs the snippet where ./lake lies; it must print the output under it."""
    code, output = snippets()[heading]
    done = subprocess.run(
        [sys.executable, "-"],
        input=code,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        cwd=directory,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, f"{heading}\n{done.stdout}\n{done.stderr[-3000:]}"
    # Spark says where it looks for its jars.
    printed = "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith(":: "))
    assert printed.strip() == output.strip(), f"{heading} printed\n{done.stdout}"
