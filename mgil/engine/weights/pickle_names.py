"""What a pickle refers to, found by following its operations without carrying any of them out."""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

from mgil.files.pickle_stack import Stack

MOST_OPERATIONS = 2_000_000  # a number each for the images of the largest public data set, and some more
_CONSTANTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
              "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MOST_PARTS = 5  # of a tuple that stands for a tensor's memory
MOST_NAME = 1000  # characters of a class or function with its module
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
    """Follow a pickle's operations on a stack of which only texts, whole numbers, names and flat tuples are known.

    Raises:
        ValueError: Damaged, longer than MOST_OPERATIONS, or made so that it cannot be followed.
    """
    found, stack, memo = References(), Stack(), dict[int, Any]()
    try:
        for count, (operation, argument, _) in enumerate(pickletools.genops(pickle)):
            if count > MOST_OPERATIONS:
                raise ValueError(f"more than {MOST_OPERATIONS:,} operations")
            _follow(operation, argument, stack, memo, found)
    except (IndexError, KeyError, AttributeError) as error:  # takes from an empty stack or memo
        raise ValueError("its operations do not fit together") from error
    return found


def _follow(
    operation: pickletools.OpcodeInfo, argument: Any, stack: Stack, memo: dict[int, Any], found: References
) -> None:
    name = operation.name
    if name in _CONSTANTS:
        stack.push(argument)
    elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[argument] = stack.top()
    elif name == "MEMOIZE":
        memo[len(memo)] = stack.top()
    elif name in ("GET", "BINGET", "LONG_BINGET"):
        stack.push(memo[argument])
    elif name == "DUP":
        stack.push(stack.top())
    elif name in ("GLOBAL", "INST"):
        named = _named(*str(argument).split(" ", 1), found=found)
        _replace(operation, stack, named if name == "GLOBAL" else _UNKNOWN)
    elif name == "STACK_GLOBAL":
        stack.push(_named(*(part if isinstance(part, str) else "?" for part in stack.take(2)), found=found))
    elif name in ("EXT1", "EXT2", "EXT4"):  # a number that a table in the reading program turns into a name
        raise ValueError("names things by numbers")
    elif name in ("BINPERSID", "PERSID"):
        reference = stack.take(1)[0] if name == "BINPERSID" else argument
        if not isinstance(reference, tuple):
            raise ValueError("refers to memory in a way that cannot be followed")
        found.persistent.append(reference)
        stack.push(_UNKNOWN)
    elif name == "TUPLE":
        stack.push(_flat(stack.take_marked()))
    elif name in _TUPLES:
        stack.push(_flat(stack.take(_TUPLES[name])))
    elif name == "MARK":
        stack.marks.append(len(stack.values))
    elif name == "POP" and stack.marks[-1:] == [len(stack.values)]:  # takes the mark when nothing lies on it
        stack.take_marked()
    else:
        _replace(operation, stack, _UNKNOWN)


def _named(module: str, name: str = "", *, found: References) -> Global:
    """Note a class or function; the same long texts over and over would take their time to compare."""
    if len(module) + len(name) > MOST_NAME:
        raise ValueError(f"names something in {len(module) + len(name):,} characters")
    named = Global(module, name)
    found.names.add(named)
    return named


def _flat(parts: list[Any]) -> Any:
    """A tuple if it can stand for a tensor's memory; tuples in tuples can spell out more than there is memory for."""
    known = len(parts) <= MOST_PARTS and all(isinstance(part, str | bytes | int | Global) for part in parts)
    return tuple(parts) if known else _UNKNOWN


def _replace(operation: pickletools.OpcodeInfo, stack: Stack, result: Any) -> None:
    """Take from the stack what an operation takes, and put as many results there as it does."""
    taken = len(operation.stack_before)
    if pickletools.markobject in operation.stack_before:
        taken = operation.stack_before.index(pickletools.markobject)
        stack.take_marked()
    stack.take(taken)
    stack.push(*[result] * len(operation.stack_after))
