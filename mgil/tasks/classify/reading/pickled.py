"""What CIFAR's pickles hold, read by following their operations: nothing that a pickle names is looked up or called.

The files hold a dictionary of texts, lists of whole numbers and texts, and one array of bytes.
"""

from __future__ import annotations

import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from mgil.files.pickle_stack import Stack

MOST_OPERATIONS = 2_000_000  # CIFAR-100's largest file has some 400,000
MOST_KEYS = 20
MOST_TEXT = 1000  # characters
ARRAY = {f"numpy.{core}.multiarray _reconstruct" for core in ("core", "_core")}
KINDS = {"numpy ndarray", "numpy dtype"}
ENCODE = "_codecs encode"  # how Python 3 writes bytes into files for Python 2
_CONSTANTS = {"BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE",
              "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}  # fmt: skip
_VALUES: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass(frozen=True)
class _Name:
    """A class or function of NumPy's that a pickle names."""

    name: str


@dataclass
class _Kind:
    """What a pickle says of the type of an array's elements."""

    code: str


@dataclass
class _Array:
    """An array as a pickle describes it."""

    state: Any = None


def unpickled(pickle: bytes) -> dict[str, Any]:
    """The dictionary in a pickle like CIFAR's.

    Args:
        pickle: The file.

    Returns:
        Texts, whole numbers, flat lists of them, and arrays of uint8, by texts.

    Raises:
        ValueError: Damaged, or it holds something that CIFAR's do not.
    """
    stack, memo = Stack(), dict[int, Any]()
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
            if count > MOST_OPERATIONS:
                raise ValueError(f"more than {MOST_OPERATIONS:,} operations")
            _follow(operation.name, argument, stack, memo)
        if len(stack.values) != 1:
            raise IndexError("not one value")
        (content,) = stack.take(1)
        if len(content) > MOST_KEYS or sum(isinstance(value, _Array) for value in content.values()) > 1:
            raise ValueError("holds more than CIFAR's files do")
        return {_text(key): _plain(value) for key, value in content.items()}
    except (IndexError, KeyError, AttributeError, TypeError) as error:
        raise ValueError("its operations do not fit together") from error


def _follow(name: str, argument: Any, stack: Stack, memo: dict[int, Any]) -> None:
    if name in ("PROTO", "FRAME", "STOP"):
        return
    if name in _CONSTANTS:
        stack.push(argument)
    elif name in _VALUES:
        stack.push(_VALUES[name])
    elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
        memo[len(memo) if argument is None else argument] = stack.top()
    elif name in ("BINGET", "LONG_BINGET"):
        stack.push(memo[argument])
    elif name in ("EMPTY_DICT", "EMPTY_LIST"):
        stack.push({} if name == "EMPTY_DICT" else [])
    elif name == "MARK":
        stack.marks.append(len(stack.values))
    elif name == "TUPLE" or name in _TUPLES:
        stack.push(tuple(stack.take(_TUPLES[name]) if name in _TUPLES else stack.take_marked()))
    elif name in ("APPEND", "APPENDS"):
        items = stack.take(1) if name == "APPEND" else stack.take_marked()
        _top(stack, list).extend(items)
    elif name in ("SETITEM", "SETITEMS"):
        items = stack.take(2) if name == "SETITEM" else stack.take_marked()
        if not all(isinstance(key, str | bytes) for key in items[::2]):
            raise TypeError("a key that is no text")
        _top(stack, dict).update(zip(items[::2], items[1::2], strict=True))
    elif name in ("GLOBAL", "STACK_GLOBAL"):
        stack.push(_named(argument if name == "GLOBAL" else " ".join(stack.take(2))))
    elif name == "REDUCE":
        stack.push(_made(*stack.take(2)))
    elif name == "BUILD":
        (state,) = stack.take(1)
        made = stack.top()
        if isinstance(made, _Array):
            made.state = state
        elif not isinstance(made, _Kind):
            raise ValueError("gives a state to what has none")
    else:
        raise ValueError(f"uses {name}, which no file of CIFAR's does")


def _top(stack: Stack, kind: type) -> Any:
    if type(stack.top()) is not kind:
        raise TypeError("neither a list nor a dictionary")
    return stack.top()


def _named(name: str) -> _Name:
    if name not in ARRAY | KINDS | {ENCODE}:
        raise ValueError(f"names {name[:100]!r}, which no file of CIFAR's does; nothing was run")
    return _Name(name)


def _made(function: Any, arguments: Any) -> Any:
    """What calling a function would have made, without calling it."""
    name = function.name
    if name in ARRAY:
        return _Array()
    if name == "numpy dtype" and isinstance(arguments[0], str | bytes):
        return _Kind(_text(arguments[0]))
    if name == ENCODE and tuple(map(_text, arguments[1:])) == ("latin1",):
        return arguments[0]  # as a text, like what Python 2 writes
    raise ValueError(f"calls {name} in a way that no file of CIFAR's does")


def _plain(value: Any) -> Any:
    """A value as it is, an array as one of NumPy's; ValueError: CIFAR's files hold no such thing."""
    if isinstance(value, _Array):
        return _array(*value.state)
    return [_simple(item, " in a list") for item in value] if isinstance(value, list) else _simple(value)


def _simple(value: Any, where: str = "") -> int | str:
    if isinstance(value, bytes):
        return _text(value)
    if type(value) in (int, str):
        return value
    kind = type(value).__name__.strip("_").lower()
    raise ValueError(f"holds {kind}{where}, neither text nor a whole number")


def _array(_version: int, shape: tuple[int, ...], kind: _Kind, by_columns: bool, content: str | bytes) -> np.ndarray:
    raw = content.encode("latin1") if isinstance(content, str) else content
    if len(shape) > 4 or not all(type(side) is int and 0 <= side <= len(raw) for side in shape):
        raise ValueError("an array of no shape")
    if kind.code.lstrip("|") != "u1" or math.prod(shape) != len(raw):
        raise ValueError(f"an array of {kind.code[:20]} that claims {shape} elements in {len(raw):,} bytes")
    return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if by_columns else "C")


def _text(value: str | bytes) -> str:
    if len(value) > MOST_TEXT:
        raise ValueError("a text that is too long")
    return value.decode("latin1") if isinstance(value, bytes) else value
