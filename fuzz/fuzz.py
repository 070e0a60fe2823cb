"""Coverage-guided fuzzing of what reads untrusted text: atheris, which is libFuzzer, on CPython.

    make fuzz                                     ten minutes for each target
    python fuzz/fuzz.py splitter --minutes 60     one of them; needs pip install "tasrih[fuzz]"

An input that breaks a contract of tests/contracts.py, takes more than ten seconds or 2 GB is written to
fuzz/findings/, and `make test` tries it from then on. The corpus that grows along the way is kept in
.fuzz/, so that the next run begins where this one ended; fuzz/seeds/ holds what every run begins with.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]
LONGEST = 4096  # bytes of an input; what a long one takes is tests/test_linear_time.py's question

# Not atheris's hook for regular expressions: its patterns have no `match` from a position. What they are made
# of stands in tokens.dict instead.
sys.path.insert(0, str(ROOT / "tests"))
with atheris.instrument_imports(include=["tasrih", "html", "json"]):
    from contracts import TARGETS


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz one of the targets.")
    parser.add_argument("target", choices=list(TARGETS))
    parser.add_argument("--minutes", type=float, default=10, help="default: 10")
    arguments = parser.parse_args()
    target = arguments.target
    corpus, findings = ROOT / ".fuzz" / target, ROOT / "fuzz" / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={round(arguments.minutes * 60)}",
        f"-max_len={LONGEST}",
        "-timeout=10",
        "-rss_limit_mb=2048",
        f"-artifact_prefix={findings}/{target}-",
        "-print_final_stats=1",
        f"-dict={ROOT / 'fuzz' / 'tokens.dict'}",
    ]
    with tempfile.TemporaryDirectory() as folder:
        atheris.Setup(
            [sys.argv[0], *options, str(corpus), str(ROOT / "fuzz" / "seeds" / target)],
            lambda content: TARGETS[target](content, Path(folder)),
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
