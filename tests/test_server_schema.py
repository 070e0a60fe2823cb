"""The server against its own OpenAPI description, by schemathesis: what it takes, what it answers, and how.

Requests that the description allows must be answered well, and others refused; every status, header, media
type and body must be one that it documents.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from test_server import running

from tasrih import Classifier

NIGHTLY = os.environ.get("TASRIH_NIGHTLY") == "1"
EXAMPLES = 1_000 if NIGHTLY else 50  # of each route and phase, where there are so many


def test_it_keeps_to_its_description(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", "--no-color"]
    command += ["--max-examples", str(EXAMPLES), "--checks", "all"]
    command += [] if NIGHTLY else ["--seed", "1"]  # the same requests for everybody; at night other ones
    environment = {
        **os.environ,
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(Path(__file__).parent),
        "SCHEMATHESIS_HOOKS": "schema_hooks",
    }
    with running(Classifier.load()) as client:
        done = subprocess.run(
            [*command, f"{client.base_url}/openapi.json"],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert "Operations:       4 selected / 4 total" in done.stdout
    found = re.search(r"(\d+) generated", done.stdout)
    assert found
    print(f"\n{found[0]}, all passed")
    assert int(found[1]) > EXAMPLES
