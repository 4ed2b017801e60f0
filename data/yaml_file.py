"""Reading a YAML file as plain data: mistakes become one-line errors that name the file and the line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that also refuses a key written twice, where YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            problem = None if isinstance(key, Hashable) else "a key must be text or a number"
            if problem is None and key in seen:
                problem = f"key {key!r} is written twice"
            if problem is not None:
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML file whose top level is `key: value` lines.

    Tags that would build Python objects are refused; nothing in the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not UTF-8, not valid YAML, a Python tag, a key written twice, or not a mapping of text keys.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        content = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader subclass)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text file (byte {error.start})") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}{_line_of(error)}: {_reason_of(error)}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply to be a configuration file") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected 'key: value' lines, found a {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise ValueError(f"{path}: key {key!r} must be text")
    return content


def _line_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _reason_of(error: yaml.YAMLError) -> str:
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return " ".join(str(reason).split())
