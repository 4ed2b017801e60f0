"""What the commands share: a parser built from config classes, and errors in one line.

PyTorch and OpenCV are imported inside functions: they take seconds, and --help and a mistyped flag need neither.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from io import TextIOWrapper
from typing import Any, NoReturn

from mgil.files.flags import Config, Flag, Refused, build, flag_of, flags, switch
from mgil.files.names import hint_for
from mgil.files.text import printable

USER_ERRORS = (ValueError, OSError, FloatingPointError)  # OSError: missing and unwritable files
SILENT_DEFAULTS = (None, "", False, 0, (), MISSING)  # they stand for "not given" and say nothing in --help


def run_cli(main: Callable[[], object]) -> None:
    """Run a program; what the user can mend ends in one line on standard error and exit code 1, not in a traceback."""
    from mgil.datasets.batches.decode import quiet_decoders

    for stream in (sys.stdout, sys.stderr):
        # a class name that its encoding lacks ends no run
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    with one_line_errors():
        quiet_decoders()
        main()


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program in one line and exit code 1 where the block fails with what the user can mend."""
    try:
        yield
    except USER_ERRORS as error:
        fail(describe(error))
    except Exception as error:
        memory = _exhausted_memory(error)
        if not memory:
            raise
        fail(f"out of {memory}; use a smaller --batch-size or --imgsz ({describe(error)})")
    except KeyboardInterrupt as stop:
        if _is_main():
            print(f"\nstopped; {printable(str(stop))}" if str(stop) else "\nstopped", file=sys.stderr)
        raise SystemExit(130) from None


def _exhausted_memory(error: Exception) -> str:
    """Which memory an error is about, if any; for the CPU's, PyTorch and OpenCV have no exception of their own."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return "GPU memory"
    words = ("allocate memory", "Insufficient memory")
    return "memory" if isinstance(error, MemoryError) or any(said in str(error) for said in words) else ""


def describe(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    else:
        text = " ".join(str(error).split())
    return printable(text) or type(error).__name__


def fail(message: str, status: int = 1) -> NoReturn:
    """End the program with an error message, one for all processes of a job."""
    if _first_to_fail():
        print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


def _is_alone() -> bool:
    """Whether this process was started without torchrun: then no other has to be asked."""
    return "WORLD_SIZE" not in os.environ


def _is_main() -> bool:
    if _is_alone():
        return True
    from mgil.engine.distributed import is_main

    return is_main()


def _first_to_fail() -> bool:
    if _is_alone():
        return True
    from mgil.engine.distributed import first_to_fail

    return first_to_fail()


class Parser(argparse.ArgumentParser):
    """A parser of the flags of config classes; `given` reads a command line.

    It takes no abbreviations: a guessed flag is a wrong one. What it cannot read ends in one line on standard error and
    exit code 2.
    """

    def __init__(self, description: str, prog: str | None = None, epilog: str = "") -> None:
        """Make a parser without flags.

        Args:
            description: First lines of the help; `%(prog)s` is the command's name.
            prog: The command's name; None: that of the running script.
            epilog: Last lines of the help, kept as they are.
        """
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )

    def add_config(self, config: type) -> None:
        """Add the flags of a config class, and those that it refuses."""
        for item, its in flags(config):
            options: dict[str, Any] = {"action": "store_true"}
            if its.kind is not switch:
                options = {"type": its.kind, "nargs": its.nargs, "required": item.default is MISSING}
                if its.kind.choices:
                    options["metavar"] = f"{{{','.join(its.kind.choices)}}}"
                if its.nargs == "?":
                    options["const"] = its.const
                if its.nargs == "+":
                    options |= {"action": _Several, "flag": its}
            names = (flag_of(item.name), *its.aliases)
            self.add_argument(*names, dest=item.name, help=_help(its, item.default), **options)
        for its in getattr(config, "refuses", ()):
            self.add_argument(*its.names, action=_Refuse, nargs=its.nargs, refused=its, help=argparse.SUPPRESS)

    def given(self, arguments: Sequence[str] | None = None) -> dict[str, Any]:
        """The values of the flags that a command line holds, by field; those of this process where it is None."""
        arguments = sys.argv[1:] if arguments is None else arguments
        for name in (text.partition("=")[0] for text in arguments):
            if name.startswith("--") and name != "--" and name not in self._option_string_actions:
                self.error(f"{name}: no such flag; {self._hint(name)}")
        return vars(self.parse_args(arguments))

    def error(self, message: str) -> NoReturn:
        """End with one line; the usage of all flags would bury it."""
        fail(message.removeprefix("argument "), status=2)

    def _hint(self, name: str) -> str:
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        known = [option for action in shown for option in action.option_strings if option.startswith("--")]
        return hint_for(name, known, quoted=False) or "--help lists them"


def _help(its: Flag, default: Any) -> str:
    """The help of a flag with its default where that says something, safe from argparse's own % signs."""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return (its.help if default in SILENT_DEFAULTS else f"{its.help} (default: {shown})").replace("%", "%%")


class _Several(argparse.Action):
    """Keeps the values of a flag that takes several, unless they are too many."""

    def __init__(self, *names: Any, flag: Flag, **options: Any) -> None:
        super().__init__(*names, **options)
        self.flag = flag

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, name: str | None = None
    ) -> None:
        if complaint := self.flag.too_many(values):
            parser.error(f"{name} {' '.join(map(str, values))}: {complaint}")
        setattr(namespace, self.dest, tuple(values) if self.flag.is_tuple else values[0])


class _Refuse(argparse.Action):
    """Ends the program with the reason why a flag is not here."""

    def __init__(self, *names: Any, refused: Refused, **options: Any) -> None:
        super().__init__(*names, **options)
        self.refused = refused

    def __call__(self, _parser: object, _namespace: object, _values: object, name: str | None = None) -> NoReturn:
        fail(f"{name} is not available: {self.refused.why}")


def parser_for(*configs: type, description: str, prog: str | None = None, epilog: str = "") -> Parser:
    """A parser of the flags of one config class or of several, none of which may have a field of another.

    Args:
        configs: Frozen dataclasses with `mgil.files.flags.flag` fields.
        description, prog, epilog: As in `Parser`.
    """
    parser = Parser(description, prog, epilog)
    for config in configs:
        parser.add_config(config)
    return parser


def parse(
    config: type[Config],
    arguments: Sequence[str] | None = None,
    *,
    description: str = "",
    prog: str | None = None,
    epilog: str = "",
) -> Config:
    """Read a command line into a config.

    Args:
        config: Its class.
        arguments: The command line; None: that of this process.
        description, prog, epilog: As in `Parser`.

    Raises:
        SystemExit: A flag that is unknown or refused, or a value that no run could have; the line is printed.
        ValueError: Flags that do not go together.
    """
    return build(config, parser_for(config, description=description, prog=prog, epilog=epilog).given(arguments))
