"""Reading a YAML file as plain data: mistakes become one-line errors that name the file and the line."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from mgil.files.plain import check_bounded
from mgil.files.text import to_utf8

MOST_BYTES = 1 << 18  # more than ten thousand class names
MOST_VALUES = 100_000
MOST_DIGITS = 100  # of a number
MERGE_TAG = "tag:yaml.org,2002:merge"
TEXT_TAG = "tag:yaml.org,2002:str"
_NUMBER_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")}
# What PyYAML's constructors raise for a scalar that its tag does not fit, besides its own errors.
_SCALAR_ERRORS = (ValueError, OverflowError, KeyError, AttributeError, IndexError, TypeError)


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader that also refuses a key written twice, where YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE_TAG:  # <<: *other, whose keys are defaults
                continue
            key = self.construct_object(key_node, deep=True)
            problem = None if isinstance(key, Hashable) else "a key must be text or a number"
            if problem is None and key in seen:
                problem = f"key {key!r} is written twice"
            if problem is not None:
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if str(node.tag).endswith((":int", ":float")) and len(node.value) > MOST_DIGITS:
            problem = f"a number of {len(node.value)} characters"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_scalar(node)


def read_yaml_mapping(path: str | Path, text_under: str | None = None) -> dict[str, Any]:
    """Read a YAML file whose top level is `key: value` lines, in UTF-8 or UTF-16.

    Tags that would build Python objects are refused; nothing in the file is executed. Aliases are allowed as long as
    what they spell out stays small.

    Args:
        path: the file.
        text_under: a key whose numbers and dates are texts as they are written: the name 010 is not 8, nor 1.10 1.1.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: too large, not UTF-8, not valid YAML, a Python tag, a key written twice, or not a mapping of text
            keys.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: larger than {MOST_BYTES >> 10} KiB, which is no configuration file")
    try:
        mapping = _load(to_utf8(content).decode(), text_under)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not a UTF-8 text file (byte {error.start}); "
            "an editor may have saved it in Latin-1 or another code page: save it as UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}{_line_of(error)}: {_reason_of(error)}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply to be a configuration file") from error
    except _SCALAR_ERRORS as error:
        raise ValueError(f"{path}: a value that cannot be read ({_reason_of(error)})") from error
    if mapping is None:
        return {}
    if not isinstance(mapping, dict):
        raise ValueError(f"{path}: expected 'key: value' lines, found a {type(mapping).__name__}")
    for key in mapping:
        if not isinstance(key, str):
            raise ValueError(f"{path}: key {key!r} must be text")
    return mapping


def _load(text: str, text_under: str | None) -> Any:
    loader = _PlainLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        check_bounded(node, MOST_VALUES, _nodes_in)  # before it is built: merging (<<) writes repetitions out
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if text_under is not None and key.value == text_under:
                    _keep_text(value)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _keep_text(node: yaml.Node) -> None:
    """Make texts of the numbers and dates that are items of a list or values of a mapping."""
    for value in [pair[1] for pair in node.value] if isinstance(node, yaml.MappingNode) else _nodes_in(node):
        if isinstance(value, yaml.ScalarNode) and value.tag in _NUMBER_TAGS:
            value.tag = TEXT_TAG


def _nodes_in(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return (part for pair in node.value for part in pair)
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _line_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""


def _reason_of(error: Exception) -> str:
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    text = " ".join(str(reason).split()) or type(error).__name__
    hint = "; in double quotes a backslash begins an escape: write / instead, or use single quotes"
    return text + hint if "unknown escape character" in text else text
