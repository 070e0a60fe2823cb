"""The wheel, where users have it: in an environment of its own, with no source tree, no torch and no network.

    make wheel-test

builds it and runs the tests of inference against it on every Python that is at hand, once with the newest
versions of what it depends on and once with the lowest that pyproject.toml allows. `make test` does it with
the Python that runs it and with the versions that it has.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NIGHTLY = os.environ.get("TASRIH_NIGHTLY") == "1"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
# Those that need the package and a checkpoint alone; what they read lies beside them.
TESTS = ["test_labels.py", "test_sentences.py", "test_quantify.py", "test_cli.py", "test_predict.py"]
READ = ["training/data/authored.jsonl", "examples/article.txt", "tests/conftest.py"]
NEEDS_TORCH = "test_predict.py::test_backends_agree"
TOOLS = ["pytest", "hypothesis"]

# Runs at the start of every process of the environment.
NO_NETWORK = """
import socket

def refuse(self, address):
    raise OSError("the tests of the wheel have no network")

socket.socket.connect = socket.socket.connect_ex = refuse
"""
ALONE = """
import importlib.util, pathlib, socket, sys
import tasrih
from tasrih.predict import shipped_model
site = pathlib.Path(sys.prefix).resolve()
assert pathlib.Path(tasrih.__file__).resolve().is_relative_to(site), tasrih.__file__
assert shipped_model().resolve().is_relative_to(site), shipped_model()
assert importlib.util.find_spec("torch") is None and importlib.util.find_spec("transformers") is None
try:
    socket.create_connection(("127.0.0.1", 9))
except OSError as error:
    assert "no network" in str(error), error
"""


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def requirements() -> list[str]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]["dependencies"]


def lowest() -> list[str]:
    """Return the requirements pinned to their floors; of numpy's there is one for each age of Python."""
    pins: list[str] = []
    for requirement in requirements():
        name, floor, marker = re.fullmatch(r"(\w+)>=([\d.]+)\s*(?:;\s*(.*))?", requirement).groups()  # type: ignore[union-attr]
        pins.append(f"{name}=={floor}" + (f"; {marker}" if marker else ""))
    return pins


def interpreter(version: str) -> str:
    """Return the command of that Python, or skip the test where there is none that starts."""
    command = shutil.which(f"python{version}")
    if command is None:
        pytest.skip(f"python{version} is not on PATH")
    if subprocess.run([command, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"python{version} on PATH does not start")
    return command


def run_tests(python: Path, tests: list[str], checkpoint: Path, folder: Path) -> str:
    """Run copies of `tests` with `python` in `folder`, and return what pytest wrote last."""
    for name in [*READ, *(f"tests/{test}" for test in tests)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True, cwd=folder,
    ).stdout.strip()  # fmt: skip
    (Path(site) / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))
    }
    environment["TASRIH_TINY_CHECKPOINT"] = str(checkpoint)
    pytest_options = ["-q", "-p", "no:cacheprovider", "--deselect", f"tests/{NEEDS_TORCH}", "tests"]
    for command in ([python, "-c", ALONE], [python, "-m", "pytest", *pytest_options]):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout.strip().splitlines()[-1]


def closure(names: list[str]) -> set[str]:
    """Return the distributions that `names` need, as they are installed here, themselves included."""
    found: set[str] = set()
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in found:
            continue
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # for another system or Python
            continue
        found.add(name)
        names += [re.match(r"[\w.-]+", text)[0] for text in needed if "extra ==" not in text]  # type: ignore[index]
    return found


def test_wheel_with_what_is_installed_here(wheel: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=os.name != "nt")
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    (site,) = environment.rglob("site-packages")
    wanted = [re.match(r"\w+", requirement)[0] for requirement in requirements()]  # type: ignore[index]
    for name in closure([*wanted, *TOOLS]):
        distribution = importlib.metadata.distribution(name)
        for part in {file.parts[0] for file in distribution.files or [] if file.parts[0] != ".."}:
            source = Path(str(distribution.locate_file(part)))
            if source.exists() and part != "__pycache__" and not (site / part).exists():
                (site / part).symlink_to(source)
    assert " passed" in run_tests(python, TESTS[:1] + TESTS[2:4], tiny_checkpoint, tmp_path / "alone")


@pytest.mark.skipif(not NIGHTLY, reason="make wheel-test: minutes, and needs a package registry")
@pytest.mark.parametrize("versions", ["newest", "lowest"])
@pytest.mark.parametrize("version", PYTHONS)
def test_wheel_in_an_empty_environment(
    wheel: Path, tiny_checkpoint: Path, tmp_path: Path, version: str, versions: str
) -> None:
    environment = tmp_path / "environment"
    subprocess.run([interpreter(version), "-m", "venv", str(environment)], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    pins = lowest() if versions == "lowest" else requirements()
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
    subprocess.run([*pip, "--upgrade", str(wheel), *pins, *TOOLS], check=True)
    listed = subprocess.run(
        [*pip[:3], "list", "--format", "json"], check=True, capture_output=True, text=True
    )
    installed = {row["name"]: row["version"] for row in json.loads(listed.stdout)}
    last_line = run_tests(python, TESTS, tiny_checkpoint, tmp_path / "alone")
    shown = ", ".join(f"{name} {installed[name]}" for name in ("numpy", "onnxruntime", "tokenizers"))
    print(f"Python {version}, {versions}: {shown}: {last_line}")
    assert " passed" in last_line
