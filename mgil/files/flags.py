"""The options of a command, each written once: a field of a frozen dataclass, with its help, aliases and range.

`mgil.engine.cli.parser_for` builds the command line's parser from the fields; `check_fields` holds what comes from
Python to the same ranges.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from mgil.files.names import hint_for

MOST_INT = 2**32 - 1  # the largest seed of NumPy; arrays cannot hold much larger numbers
KEY = "flag"  # of the field's metadata

Config = TypeVar("Config")


@dataclass(frozen=True)
class Kind:
    """What a value must be; called with the text of a command line, it gives the value, as argparse expects of a type.

    Attributes:
        wanted: In words, such that "... is not {wanted}" is a sentence.
        read: From text to a value; raises ValueError.
        accepts: Whether a value, of any type, is one.
        choices: The values, where they can be listed.
        not_here: Values that YOLOv5 has, each with the reason why it is not here.
    """

    wanted: str
    read: Callable[[str], Any]
    accepts: Callable[[Any], bool]
    choices: tuple[str, ...] = ()
    not_here: Mapping[str, str] = field(default_factory=dict, hash=False)

    def complaint(self, given: Any) -> str:
        """What to say about a value that is none of these."""
        if isinstance(given, str) and given in self.not_here:
            return f"{given} is not available: {self.not_here[given]}"
        return f"{given!r} is not {self.wanted}"

    def __call__(self, text: str) -> Any:
        """Read text.

        Raises:
            argparse.ArgumentTypeError: It is no such value.
        """
        try:
            value = self.read(text)
        except ValueError:
            value = None
        if not self.accepts(value):
            raise argparse.ArgumentTypeError(self.complaint(text))
        return value


def whole(low: int, high: int = MOST_INT, also: tuple[int, ...] = ()) -> Kind:
    """Integers from `low` to `high`, and those of `also`, which have a meaning of their own."""
    wanted = "".join([f"an integer of {low} or more, up to {high}", *(f", or {value}" for value in also)])

    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and (low <= value <= high or value in also)

    return Kind(wanted, int, accepts)


def real(wanted: str, in_range: Callable[[float], bool]) -> Kind:
    """Numbers of a range; NaN is in none that is written with comparisons."""

    def accepts(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and in_range(value)

    return Kind(wanted, float, accepts)


def one_of(choices: tuple[str, ...], not_here: Mapping[str, str] | None = None) -> Kind:
    """One of a few words."""
    return Kind(f"one of {', '.join(choices)}", str, lambda value: value in choices, choices, not_here or {})


positive_int = whole(1)
natural_int = whole(0)
fraction = real("a number from 0 to 1", lambda value: 0 <= value <= 1)
text = Kind("text", str, lambda value: isinstance(value, str | os.PathLike))
switch = Kind("True or False", str, lambda value: isinstance(value, bool))


@dataclass(frozen=True)
class Flag:
    """How a field is set on the command line.

    Attributes:
        help: For --help, without the default.
        kind: What the value is; of several values, what each is.
        aliases: Other names of the flag, with their dashes.
        nargs: None: one value; "?": none (then `const`) or one; "+": one or more.
        const: The value of a flag that stands alone.
        most: Of several values, how many at most. With 1 the field holds the value itself, else a tuple.
        together: Of several values, what they are: a complaint about their number begins with "give".
    """

    help: str
    kind: Kind
    aliases: tuple[str, ...] = ()
    nargs: str | None = None
    const: Any = None
    most: int | None = None
    together: str = ""

    @property
    def is_tuple(self) -> bool:
        """Whether the field holds a tuple."""
        return self.nargs == "+" and self.most != 1

    def too_many(self, values: Sequence[Any]) -> str:
        """The complaint about more values than there may be, or nothing."""
        return f"give {self.together}" if self.most is not None and len(values) > self.most else ""

    def problem(self, value: Any) -> str:
        """What is wrong with a value given in Python, or nothing."""
        if not self.is_tuple:
            return "" if self.kind.accepts(value) else self.kind.complaint(value)
        if not isinstance(value, tuple):
            return f"{value!r}: give a tuple, also of one value: ({value!r},)"
        shown = " ".join(map(str, value))
        if complaint := self.too_many(value):
            return f"{shown}: {complaint}"
        wrong = [part for part in value if not self.kind.accepts(part)]
        return f"{shown}: {self.kind.complaint(wrong[0])}" if wrong else ""


@dataclass(frozen=True)
class Refused:
    """A flag of YOLOv5 that is not here: using it ends with the reason.

    Attributes:
        names: All of them, with their dashes.
        why: The reason.
        nargs: What may follow the flag, as in argparse.
    """

    names: tuple[str, ...]
    why: str
    nargs: str | int


def refused(*names: str, why: str, nargs: str | int = "?") -> Refused:
    """A flag of YOLOv5 that is not here; a config class lists its own in the class variable `refuses`."""
    return Refused(names, why, nargs)


def flag(
    default: Any = MISSING,
    *,
    help: str,
    kind: Kind | None = None,
    choices: tuple[str, ...] = (),
    not_here: Mapping[str, str] | None = None,
    aliases: tuple[str, ...] = (),
    nargs: str | None = None,
    const: Any = None,
    most: int | None = None,
    together: str = "",
) -> Any:
    """A field of a config class that is a flag of the command: `imgsz: int = flag(0, help="...", aliases=("--img",))`.

    Args:
        default: Without it the flag is required. It is right whatever the kind: it may say "not given".
        help: For --help; the default is added where it says something.
        kind: What the value must be. Without it: one of `choices`, a switch where the default is False, else text.
        choices: The words to choose from.
        not_here: Words that YOLOv5 has too, each with the reason why it is none of them here.
        aliases, nargs, const, most, together: As in `Flag`.
    """
    if kind is None:
        kind = one_of(choices, not_here) if choices else switch if default is False else text
    return field(default=default, metadata={KEY: Flag(help, kind, aliases, nargs, const, most, together)})


def flag_of(name: str) -> str:
    """The flag that sets a field."""
    return f"--{name.replace('_', '-')}"


def flags(config: Any) -> Iterator[tuple[Field[Any], Flag]]:
    """The fields of a config, or of its class, that are flags."""
    for item in fields(config):
        if KEY in item.metadata:
            yield item, item.metadata[KEY]


def _plain(value: Any) -> Any:
    """The text of a path, which the programs compare, split and write to files."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def check_fields(config: Any) -> None:
    """Hold every field to its flag's kind, for `__post_init__`; a list becomes the tuple that it stands for, and a path
    its text.

    The methods `check_flags`, which hold flags against each other, are called at the end: that of every class which
    the config was combined from.

    Raises:
        ValueError: A value that no run could have; the flag is named.
    """
    for item, its in flags(config):
        value = getattr(config, item.name)
        if its.is_tuple and isinstance(value, list):
            value = tuple(value)
        if its.kind is text:
            value = tuple(map(_plain, value)) if isinstance(value, tuple) else _plain(value)
        object.__setattr__(config, item.name, value)  # the only way into a frozen dataclass
        if type(value) is type(item.default) and value == item.default:
            continue
        if isinstance(value, tuple) and not value and item.default is MISSING:
            raise ValueError(f"{flag_of(item.name)}: give at least one")
        if problem := its.problem(value):
            raise ValueError(f"{flag_of(item.name)} {problem}")
    for part in type(config).__mro__:  # by inheritance alone, the last task's would hide those of the others
        if "check_flags" in vars(part):
            vars(part)["check_flags"](config)


def build(config: type[Config], given: Mapping[str, Any]) -> Config:
    """A config of those given values that are its own; the other fields have their defaults."""
    own = {item.name for item in fields(config)}  # type: ignore[arg-type]  # any dataclass
    return config(**{name: value for name, value in given.items() if name in own})


@cache
def combined(config: type[Config], options: type, **attributes: Any) -> type[Config]:
    """A config class with the flags of another one, the options of a task, behind its own.

    Args:
        config: The command's class.
        options: The task's.
        attributes: Further class attributes.

    Raises:
        ValueError: Both have a flag that is not the same in all but its help, or a word stands for two things.
    """
    _check_shared_fields(config, options)
    refuses = tuple(dict.fromkeys((*getattr(config, "refuses", ()), *getattr(options, "refuses", ()))))
    _check_words((config, options), refuses)
    body = {"__doc__": config.__doc__, "__module__": config.__module__, "refuses": refuses, **attributes}
    return dataclass(frozen=True)(type(config.__name__.replace("Flags", "Config"), (options, config), body))


def _check_shared_fields(config: type, options: type) -> None:
    known = {item.name: (item, its) for item, its in flags(config)}
    for item, its in flags(options):
        before, theirs = known.get(item.name, (item, its))
        pairs = {
            "defaults": (before.default, item.default),
            "kinds of values": (theirs.kind.wanted, its.kind.wanted),
            "numbers of values": ((theirs.nargs, theirs.most), (its.nargs, its.most)),
            "values where none is given": (theirs.const, its.const),
            "sets of aliases": (theirs.aliases, its.aliases),
        }
        for what, (first, second) in pairs.items():
            if first != second:
                raise ValueError(f"{flag_of(item.name)}: two {what}, {first!r} and {second!r}")


def _check_words(configs: Sequence[type], refuses: Sequence[Refused]) -> None:
    """A word of the command line stands for one field or one refusal."""
    meant = [
        (word, flag_of(item.name))
        for config in configs
        for item, its in flags(config)
        for word in (flag_of(item.name), *its.aliases)
    ]
    meant += [(word, f"a refusal ({its.why})") for its in refuses for word in its.names]
    meanings: dict[str, str] = {}
    for word, meaning in meant:
        if meanings.setdefault(word, meaning) != meaning:
            raise ValueError(f"{word} would be {meanings[word]} and {meaning}; give one of them another name")


def check_foreign(config: Any, own: Sequence[type], why: str) -> None:
    """Refuse values for flags of other tasks; one at its default is as good as not given.

    Args:
        config: The values.
        own: The classes whose flags are meant here; the class variable `without` of one of them names flags of another
            one that have no meaning here.
        why: What stands behind the flag in the error.

    Raises:
        ValueError: A flag of none of them was given; it is named.
    """
    known = {item.name for part in own for item in fields(part)}
    known -= {name for part in own for name in getattr(part, "without", ())}
    for item, _ in flags(config):
        if item.name not in known and getattr(config, item.name) != item.default:
            raise ValueError(f"{flag_of(item.name)}: {why}, which has no such flag")


def from_keywords(options: type[Config], given: Mapping[str, Any]) -> Config:
    """Options from keywords, which may be a flag's short names: `conf` for conf_thres.

    Raises:
        ValueError: An unknown keyword, for which the nearest known one is named; two keywords for one flag; or a bad
            value.
    """
    names = {item.name: item.name for item, _ in flags(options)}
    for item, its in flags(options):
        names |= {alias.strip("-").replace("-", "_"): item.name for alias in its.aliases}
    used: dict[str, str] = {}
    for key in given:
        if key not in names:
            hint = hint_for(key, names) or f"known are {', '.join(names)}"
            raise ValueError(f"unknown option {key!r}; {hint}")
        if (other := used.setdefault(names[key], key)) != key:
            raise ValueError(f"{other}={given[other]!r} and {key}={given[key]!r} are the same option; give one of them")
    config = options(**{names[key]: value for key, value in given.items()})
    check_fields(config)
    return config


def as_plain(config: Any) -> dict[str, Any]:
    """The values of a config as YAML and JSON can hold them: tuples as lists."""
    values = {item.name: getattr(config, item.name) for item in fields(config)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def from_plain(config: type[Config], values: Mapping[str, Any], what: str) -> Config:
    """The inverse of `as_plain`.

    Args:
        config: The class to build.
        values: By field; those that are missing have their defaults.
        what: The name of such a value in a complaint, as "training option".

    Raises:
        ValueError: An unknown key, for which the nearest known one is named; or a bad value.
    """
    known = [item.name for item in fields(config)]  # type: ignore[arg-type]  # any dataclass
    for key in values:
        if key not in known:
            hint = hint_for(key, known) or f"known are {', '.join(known)}"
            raise ValueError(f"unknown {what} {key!r}; {hint}")
    return config(**values)
