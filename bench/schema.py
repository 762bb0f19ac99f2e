"""Read YAML strictly into frozen dataclasses.

A file is data only: no tags, no aliases (a few lines of them expand to gigabytes), no key twice, no
unknown key. Every message names the file, the place in it, what was expected and what came.
"""

import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from bench.errors import DatasetError, unknown_name

T = TypeVar("T")

MAX_YAML_BYTES = 1_000_000
MAX_YAML_DEPTH = 20


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, without aliases, repeated keys and deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are refused", problem_mark=mark)
        self.depth += 1
        if self.depth > MAX_YAML_DEPTH:
            mark = self.peek_event().start_mark
            problem = f"nested deeper than {MAX_YAML_DEPTH} levels"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                problem = f"expected a plain key, once; got {getattr(key, 'value', key.tag)!r}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises:
        DatasetError: If the file is missing, too large, not YAML, or not a mapping of names.
    """
    text = read_text(path, MAX_YAML_BYTES)
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise DatasetError(f"{path}, line {line}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise DatasetError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return _mapping(content, str(path))


def read_text(path: Path, max_bytes: int) -> str:
    """Return a UTF-8 file's text.

    Raises:
        DatasetError: If it cannot be read, is larger than ``max_bytes``, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > max_bytes:
        raise DatasetError(f"{path} is larger than the {max_bytes} bytes that are read of it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path} is not UTF-8 text (byte {error.start}); save it so") from error


def build(cls: type[T], content: object, where: str, given: Mapping[str, Any] | None = None) -> T:
    """Make a dataclass of a mapping, checking names and types.

    Args:
        cls: The dataclass; its annotations say what is expected.
        content: What the file holds.
        where: File and key path, for messages.
        given: Fields that come from elsewhere, so that the file may not name them.

    Raises:
        DatasetError: If a key is unknown or missing, a value has the wrong type, or the class's own
            ``__post_init__`` raises ``ValueError``.
    """
    given = given or {}
    mapping = _mapping(content, where)
    hints = get_type_hints(cls)
    open_fields = {f.name: f for f in fields(cls) if f.name not in given}  # type: ignore[arg-type]
    check_keys(mapping, open_fields, where)
    for name, spec in open_fields.items():
        required = spec.default is MISSING and spec.default_factory is MISSING
        if required and name not in mapping:
            raise DatasetError(f"{where}: the key {name!r} is missing")
    values = {key: _convert(hints[key], value, f"{where}.{key}") for key, value in mapping.items()}
    try:
        return cls(**given, **values)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}") from error


def check_keys(mapping: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ``DatasetError`` for the first key that is not known, naming the nearest ones."""
    names = list(known)
    for key in mapping:
        if key not in names:
            raise DatasetError(f"{where}: {unknown_name('key', key, names)}")


def _mapping(content: object, where: str) -> dict[str, Any]:
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise _mismatch("a mapping of names to values", content, where)
    for key in content:
        if not isinstance(key, str):
            raise _mismatch("a name as key", key, where)
    return content


def _convert(hint: Any, value: object, where: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        inner = [arm for arm in get_args(hint) if arm is not type(None)]
        return None if value is None else _convert(inner[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _mismatch("a list", value, where)
        item = get_args(hint)[0]
        return tuple(_convert(item, part, f"{where}[{i}]") for i, part in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        item = get_args(hint)[1]
        mapping = _mapping(value, where)
        return {key: _convert(item, part, f"{where}.{key}") for key, part in mapping.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint, value, where)
    if hint in _PLAIN:
        return _plain(hint, value, where)
    return build(hint, value, where)


_PLAIN: dict[type, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true/false",
}


def _plain(hint: type, value: object, where: str) -> Any:
    accepted: tuple[type, ...] = (int, float) if hint is float else (hint,)
    is_bool = isinstance(value, bool)
    if is_bool != (hint is bool) or not isinstance(value, accepted):
        raise _mismatch(_PLAIN[hint], value, where)
    try:
        return hint(value)
    except OverflowError as error:  # a whole number beyond all floats
        raise _mismatch(_PLAIN[hint], value, where) from error


def _enum(hint: type[Enum], value: object, where: str) -> Enum:
    names = [str(member.value) for member in hint]
    if not isinstance(value, str):
        raise _mismatch(f"one of {', '.join(names)}", value, where)
    if value not in names:
        raise DatasetError(f"{where}: {unknown_name(hint.__name__.lower(), value, names)}")
    return hint(value)


def _mismatch(expected: str, value: object, where: str) -> DatasetError:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    quote = (
        "; put it in quotes" if expected == "text" and not isinstance(value, list | dict) else ""
    )
    kind = "nothing" if value is None else f"{type(value).__name__} {shown}"
    return DatasetError(f"{where}: expected {expected}, got {kind}{quote}")
