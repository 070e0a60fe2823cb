"""Run configurations: a TOML file becomes a nested frozen dataclass, or a `ConfigError`.

Everything is checked before anything is loaded: unknown keys, missing keys, wrong types, values outside
a `Literal`, and whatever a dataclass checks of itself in `__post_init__`. `--set a.b=value` overrides a
key; the value is read as TOML, and as a plain string where it is none.
"""

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class ConfigError(ValueError):
    """A configuration that cannot be run; the message says what was found, expected, and what to do."""


def load(schema: type[T], path: Path, overrides: list[str] | None = None) -> T:
    """Read the TOML file at `path` into `schema`, a dataclass, after applying `overrides`.

    Raises `ConfigError` where file, key, type or value is wrong.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; expected a TOML configuration, see configs/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    for override in overrides or []:
        _apply_override(table, override)
    return _build(schema, table, where=str(path), prefix="")


def to_table(config: Any) -> dict[str, Any]:
    """Return `config`, a dataclass, as nested plain values without the keys that are None."""
    return _without_none(dataclasses.asdict(config))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, (list, tuple)) else value


def _apply_override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override!r}: expected KEY=VALUE, for example optimizer.learning_rate=2e-5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, leaf = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"--set {override!r}: {parent!r} is a value, not a table")
    table[leaf] = value


def _build(schema: type, table: dict[str, Any], where: str, prefix: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(schema)}
    hints = get_type_hints(schema)
    for key in table:
        if key not in fields:
            raise ConfigError(
                f"{where}: unknown key {prefix + key!r}; expected one of: "
                f"{', '.join(prefix + name for name in fields)}"
            )
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _convert(hints[name], table[name], where, prefix + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{where}: missing key {prefix + name!r}; add it ({_name(hints[name])})")
    try:
        return schema(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str, key: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {key!r} is {value!r}; expected a table [{key}]")
        return _build(hint, value, where, prefix=f"{key}.")
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [arg for arg in get_args(hint) if arg is not type(None)]
        return _convert(inner[0], value, where, key)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}: {key!r} is {value!r}; expected one of {list(get_args(hint))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where}: {key!r} is {value!r}; expected a list")
        item = get_args(hint)[0]
        return tuple(_convert(item, part, where, f"{key}[{i}]") for i, part in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {key!r} is {value!r}; expected a table [{key}]")
        item = get_args(hint)[1]
        return {name: _convert(item, part, where, f"{key}.{name}") for name, part in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and type(value) is str:
        return Path(value)
    if type(value) is not hint:
        raise ConfigError(f"{where}: {key!r} is {value!r} ({type(value).__name__}); expected {_name(hint)}")
    return value


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
