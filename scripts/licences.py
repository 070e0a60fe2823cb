"""List what tasrih depends on, with versions and licences, from the metadata of what is installed.

python scripts/licences.py                             # a table for each extra, in Markdown
python scripts/licences.py --update docs/licences.md   # the tables in their place in that page
python scripts/licences.py --requirements              # what inference needs, pinned, for pip-audit
"""

import argparse
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BEGIN, END = "<!-- begin: scripts/licences.py -->", "<!-- end -->"
# The extras of users; what developers need on top is not handed on with anything.
EXTRAS = ["", "bulk", "serve", "trends", "ray", "torch", "train"]


def closure(extra: str) -> set[str]:
    """Return the canonical names of all that `tasrih[extra]` needs here, without tasrih itself."""
    found: set[tuple[str, str]] = set()
    waiting = [("tasrih", extra)]
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # its marker held, but it is not installed
            print(f"{name}: not installed, left out", file=sys.stderr)
            continue
        found.add((name, wanted))
        for requirement in map(Requirement, requirements):
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                names = requirement.extras | {""}
                waiting += [(canonicalize_name(requirement.name), inner) for inner in sorted(names)]
    return {name for name, _ in found} - {"tasrih"}


def licence(name: str) -> str:
    """Return the licence that a distribution states: its SPDX expression, classifiers, or first line."""
    facts = metadata.metadata(name)
    if expression := facts["License-Expression"]:
        return expression
    classifiers = [
        line.split(" :: ")[-1]
        for line in facts.get_all("Classifier") or []
        if line.startswith("License ::") and not line.endswith("OSI Approved")
    ]
    text = (facts["License"] or "").strip().splitlines()
    return ", ".join(classifiers) or (text[0][:60] if text else "not stated in its metadata")


def version(name: str) -> str:
    return metadata.version(name).split("+")[
        0
    ]  # a build's own mark, such as torch's "+cpu", says nothing here


def tables() -> str:
    """Return the tables in Markdown; a distribution stands where it is needed first."""
    lines: list[str] = []
    listed: set[str] = set()
    for extra in EXTRAS:
        new = sorted(closure(extra) - listed)
        listed |= set(new)
        lines += [f"### `tasrih[{extra}]` adds" if extra else "### `tasrih`, inference", ""]
        lines += ["| package | version listed | licence |", "| --- | --- | --- |"]
        lines += [f"| {name} | {version(name)} | {licence(name)} |" for name in new]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--update", type=Path, help="page whose tables are to be replaced")
    parser.add_argument("--requirements", action="store_true", help="print inference's packages, pinned")
    arguments = parser.parse_args()
    if arguments.requirements:
        print("\n".join(f"{name}=={version(name)}" for name in sorted(closure(""))))
    elif arguments.update:
        page = arguments.update.read_text(encoding="utf-8")
        part = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
        if not part.search(page):
            parser.error(f"{arguments.update}: found no {BEGIN}, expected it before {END}")
        tabled = f"{BEGIN}\n\n{tables()}\n{END}"
        arguments.update.write_text(part.sub(lambda _: tabled, page), encoding="utf-8")
    else:
        print(tables())


if __name__ == "__main__":
    main()
