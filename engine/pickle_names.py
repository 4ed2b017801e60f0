"""What a pickle refers to, found by following its operations without carrying any of them out."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

MOST_OPERATIONS = 2_000_000  # a number each for the images of the largest public data set, and some more
_CONSTANTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
              "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_UNKNOWN = object()


@dataclass(frozen=True)
class Global:
    """A class or function that a pickle names."""

    module: str
    name: str


@dataclass
class References:
    """What a pickle refers to.

    Attributes:
        names: Every class and function.
        persistent: What stands for each tensor's memory, a tuple of constants and `Global`s.
    """

    names: set[Global] = field(default_factory=set)
    persistent: list[tuple[Any, ...]] = field(default_factory=list)


def references_in(pickle: bytes) -> References:
    """Follow a pickle's operations on a stack of which only texts, whole numbers, names and tuples are known.

    Raises:
        ValueError: Damaged, longer than MOST_OPERATIONS, or made so that it cannot be followed.
    """
    found, stack, memo = References(), list[Any](), dict[int, Any]()
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
            if count > MOST_OPERATIONS:
                raise ValueError(f"more than {MOST_OPERATIONS:,} operations")
            _follow(operation, argument, stack, memo, found)
    except (IndexError, KeyError, AttributeError) as error:  # takes from an empty stack or memo
        raise ValueError("its operations do not fit together") from error
    return found


def _follow(
    operation: pickletools.OpcodeInfo, argument: Any, stack: list[Any], memo: dict[int, Any], found: References
) -> None:
    name = operation.name
    if name in _CONSTANTS:
        stack.append(argument)
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack[-1]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.append(memo[argument])
    elif name == "DUP":
        stack.append(stack[-1])
    elif name in ("GLOBAL", "INST"):
        named = Global(*str(argument).split(" ", 1))
        found.names.add(named)
        _replace(operation, stack, named if name == "GLOBAL" else _UNKNOWN)
    elif name == "STACK_GLOBAL":
        named = Global(*(part if isinstance(part, str) else "?" for part in stack[-2:]))
        found.names.add(named)
        _replace(operation, stack, named)
    elif name in ("EXT1", "EXT2", "EXT4"):  # a number that a table in the reading program turns into a name
        raise ValueError("names things by numbers")
    elif name in ("BINPERSID", "PERSID"):
        reference = stack.pop() if name == "BINPERSID" else argument
        if not isinstance(reference, tuple):
            raise ValueError("refers to memory in a way that cannot be followed")
        found.persistent.append(reference)
        stack.append(_UNKNOWN)
    elif name == "TUPLE":
        start = len(stack) - 1 - stack[::-1].index(_MARK)
        stack[start:] = [tuple(stack[start + 1 :])]
    elif name in _TUPLES:
        start = len(stack) - _TUPLES[name]
        stack[start:] = [tuple(stack[start:])]
    else:
        _replace(operation, stack, _MARK if name == "MARK" else _UNKNOWN)


def _replace(operation: pickletools.OpcodeInfo, stack: list[Any], result: Any) -> None:
    """Take from the stack what an operation takes, and put as many results there as it does."""
    taken = len(operation.stack_before)
    if pickletools.markobject in operation.stack_before:
        taken = operation.stack_before.index(pickletools.markobject)
        while stack.pop() is not _MARK:
            pass
    if taken > len(stack):
        raise IndexError(operation.name)
    del stack[len(stack) - taken :]
    stack.extend([result] * len(operation.stack_after))
