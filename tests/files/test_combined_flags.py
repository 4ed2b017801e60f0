"""The flags of several tasks in one command: every check runs, and no word has two meanings."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest

from mgil.files.flags import check_fields, combined, flag, fraction, positive_int, refused


@dataclass(frozen=True)
class Base:
    """Flags of a command."""

    depth: int | None = flag(None, kind=positive_int, help="how deep")
    shade: str = flag("auto", choices=("auto", "100%"), nargs="?", const="100%", help="50 % or so")

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Cars:
    """Flags of one task."""

    wheels: int = flag(4, kind=positive_int, aliases=("--round",), help="of a car")
    refuses = (refused("--wings", why="cars do not fly"),)

    def check_flags(self) -> None:
        if self.wheels == 3:
            raise ValueError("--wheels 3: it would fall over")


@dataclass(frozen=True)
class Boats:
    """Flags of another."""

    sails: int = flag(1, kind=positive_int, help="of a boat")
    refuses = (refused("--wings", why="cars do not fly"),)

    def check_flags(self) -> None:
        if self.sails == 9:
            raise ValueError("--sails 9: it would tip over")


@pytest.mark.parametrize("parts", [(Cars, Boats), (Boats, Cars)])
def test_the_checks_of_all_tasks_run(parts: tuple[type, type]) -> None:
    both: Any = combined(combined(Base, parts[0]), parts[1])
    assert (both().wheels, both().sails) == (4, 1)
    for options, message in (({"wheels": 3}, "fall over"), ({"sails": 9}, "tip over"), ({"depth": 0}, "--depth 0")):
        with pytest.raises(ValueError, match=message):
            both(**options)


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("spokes", flag(2, kind=positive_int, aliases=("--round",), help="x"),
         "--round would be --wheels and --spokes; give one of them another name"),
        ("round", flag(False, help="x"), "--round would be --wheels and --round; give one of them another name"),
        ("wings", flag(2, kind=positive_int, help="x"),
         "--wings would be --wings and a refusal (cars do not fly); give one of them another name"),
        ("wheels", flag(4, kind=fraction, aliases=("--round",), help="x"),
         "--wheels: two kinds of values, 'an integer of 1 or more, up to 4294967295' and 'a number from 0 to 1'"),
        ("wheels", flag(3, kind=positive_int, aliases=("--round",), help="x"), "--wheels: two defaults, 4 and 3"),
        ("wheels", flag(4, kind=positive_int, help="x"), "--wheels: two sets of aliases, ('--round',) and ()"),
        ("shade", flag("auto", choices=("auto", "50%"), nargs="?", const="100%", help="x"),
         "--shade: two kinds of values, 'one of auto, 100%' and 'one of auto, 50%'"),
    ],
)  # fmt: skip
def test_flags_of_two_tasks_that_clash_are_refused(name: str, field: Any, message: str) -> None:
    other = dataclasses.make_dataclass("Other", [(name, Any, field)], frozen=True)
    with pytest.raises(ValueError) as caught:
        combined(combined(Base, Cars), other)
    assert str(caught.value) == message
