"""What the command-line doors share: argument types, and errors in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

import torch

from data.decode import quiet_decoders
from engine.distributed import first_to_fail, is_main
from files.text import printable

USER_ERRORS = (ValueError, OSError, FloatingPointError)  # OSError: missing and unwritable files
MOST_INT = 2**32 - 1  # of a flag: the largest seed of NumPy; arrays cannot hold much larger numbers


def run_cli(main: Callable[[], None]) -> None:
    """Run a door; what the user can mend ends in one line on standard error and exit code 1, not in a traceback."""
    quiet_decoders()
    try:
        main()
    except USER_ERRORS as error:
        fail(describe(error))
    except torch.cuda.OutOfMemoryError as error:
        fail(f"out of GPU memory; use a smaller --batch-size or --imgsz ({describe(error)})")
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        fail(f"out of memory; use a smaller --batch-size or --imgsz ({describe(error)})")
    except KeyboardInterrupt as stop:
        if is_main():
            print(f"\nstopped; {printable(str(stop))}" if str(stop) else "\nstopped", file=sys.stderr)
        raise SystemExit(130) from None


def _is_out_of_memory(error: Exception) -> bool:
    """Whether there was no memory for an array; PyTorch and OpenCV have no exception of their own for it."""
    return isinstance(error, MemoryError) or any(
        words in str(error) for words in ("allocate memory", "Insufficient memory")
    )


def describe(error: BaseException) -> str:
    """An error as one line."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    else:
        text = " ".join(str(error).split())
    return printable(text) or type(error).__name__


def fail(message: str, status: int = 1) -> NoReturn:
    """End the program with an error message, one for all processes of a job."""
    if first_to_fail():
        print(f"error: {message}", file=sys.stderr)
    raise SystemExit(status)


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations (a guessed flag is a wrong one) and can refuse flags by name.

    What it cannot read ends in one line on standard error and exit code 2.
    """

    def __init__(self, description: str, defaults: type | None = None) -> None:
        """Make a parser.

        Args:
            description: First line of the help.
            defaults: A config class whose fields have defaults; the namespace then holds the flags that were given and
                no others, and the help shows the class's values.
        """
        self.defaults = defaults  # before the base class, which adds --help itself
        super().__init__(
            description=description,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS if defaults else None,
        )

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:  # type: ignore[override]
        """Add a flag, with its default in the help where that says something."""
        action = super().add_argument(*names, **options)
        value = getattr(self.defaults, action.dest, None) if self.defaults else action.default
        silent = (None, "", False, 0, argparse.SUPPRESS)
        if action.help and action.help is not argparse.SUPPRESS and value not in silent:
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
            action.help += f" (default: {shown})"
        return action

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Read the flags; one that is not there ends with the nearest that is."""
        args = sys.argv[1:] if args is None else args
        for flag in (text.partition("=")[0] for text in args):
            if flag.startswith("--") and flag != "--" and flag not in self._option_string_actions:
                self.error(f"{flag}: no such flag; {self._nearest(flag)}")
        return super().parse_args(args, namespace)

    def _nearest(self, flag: str) -> str:
        shown = [action for action in self._actions if action.help != argparse.SUPPRESS]
        names = [name.strip("-") for action in shown for name in action.option_strings]
        near = get_close_matches(flag.strip("-"), names, n=1, cutoff=0.7)
        return f"did you mean --{near[0]}?" if near else "--help lists them"

    def error(self, message: str) -> NoReturn:
        """End with one line; the usage of all flags would bury it."""
        fail(message.removeprefix("argument "), status=2)

    def left_out(self, *flags: str, why: str, nargs: str | int | None = "?") -> None:
        """Name a flag of YOLOv5 that is not here: using it ends with the reason."""

        class Refuse(argparse.Action):
            def __call__(self, _parser: object, _namespace: object, _values: object, flag: object = None) -> NoReturn:
                fail(f"{flag} is not available: {why}")

        self.add_argument(*flags, action=Refuse, nargs=nargs, help=argparse.SUPPRESS, default=argparse.SUPPRESS)


def positive_int(text: str) -> int:
    """An argument that must be an integer above 0."""
    return int(_bounded(int, text, 1, MOST_INT, f"an integer of 1 or more, up to {MOST_INT}"))


def natural_int(text: str) -> int:
    """An argument that must be an integer of 0 or more."""
    return int(_bounded(int, text, 0, MOST_INT, f"an integer of 0 or more, up to {MOST_INT}"))


def batch_size(text: str) -> int:
    """An argument that must be an integer of 1 or more, or -1."""
    return -1 if text == "-1" else int(_bounded(int, text, 1, MOST_INT, "an integer of 1 or more, or -1"))


def fraction(text: str) -> float:
    """An argument that must lie in 0..1."""
    return _bounded(float, text, 0, 1, "a number from 0 to 1")


def _bounded(kind: Callable[[str], float], text: str, low: float, high: float, wanted: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value
