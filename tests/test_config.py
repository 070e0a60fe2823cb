from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from config import ConfigError, load, to_table


@dataclass(frozen=True)
class Inner:
    rate: float
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ConfigError(f"inner.rate is {self.rate}; expected 0 or more")


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    count: int = 3
    folder: Path | None = None
    seeds: tuple[int, ...] = field(default=(1,))


def read(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return load(Outer, path, list(overrides))


GOOD = 'name = "x"\nseeds = [1, 2]\n[inner]\nrate = 1e-5\n'


def test_reads_nested_values_and_defaults(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD) == Outer("x", Inner(1e-5), seeds=(1, 2))


def test_whole_numbers_serve_as_floats(tmp_path: Path) -> None:
    rate = read(tmp_path, GOOD, "inner.rate=2").inner.rate
    assert rate == 2.0
    assert isinstance(rate, float)


def test_overrides_are_toml_and_else_text(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD, "inner.rate=2e-5", "folder=../some/where", "count=7", "seeds=[4]")
    assert config == Outer("x", Inner(2e-5), 7, Path("../some/where"), (4,))


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (GOOD + "weight = 1\n", [], r"unknown key 'inner.weight'; expected one of: inner.rate, inner.kind"),
        ('name = "x"\n', [], r"missing key 'inner'"),
        (GOOD, ["inner.rate=fast"], r"'inner.rate' is 'fast' \(str\); expected float"),
        (GOOD, ["count=1.5"], r"'count' is 1.5 \(float\); expected int"),
        (GOOD, ["count=true"], r"'count' is True \(bool\); expected int"),
        (GOOD, ['inner.kind="c"'], r"'inner.kind' is 'c'; expected one of \['a', 'b'\]"),
        (GOOD, ["inner.rate=-1"], r"inner.rate is -1.0; expected 0 or more"),
        (GOOD, ["inner=3"], r"'inner' is 3; expected a table \[inner\]"),
        (GOOD, ["seeds=3"], r"'seeds' is 3; expected a list"),
        (GOOD, ["name.x=3"], r"'name' is a value, not a table"),
        (GOOD, ["nothing"], r"expected KEY=VALUE"),
        ("name = [", [], r"not valid TOML"),
    ],
)
def test_refuses(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text, *overrides)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(Outer, tmp_path / "none.toml")


def test_table_leaves_none_out() -> None:
    assert to_table(Outer("x", Inner(1.0))) == {
        "name": "x",
        "inner": {"rate": 1.0, "kind": "a"},
        "count": 3,
        "seeds": [1],
    }


def test_every_shipped_configuration_is_valid() -> None:
    from pretrain import PretrainConfig
    from recipe import Recipe

    configs = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))
    assert configs
    for path in configs:
        load(PretrainConfig if path.name.startswith("pretrain") else Recipe, path)
