"""The commands `mgil train|val|detect|export|carry-over`; train.py and its neighbours are the first four.

What a command runs is imported once its flags are read, so that --help and a mistyped flag answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from mgil.engine.cli import fail, one_line_errors, parse, parser_for, run_cli
from mgil.engine.evaluation.config import val_config
from mgil.engine.export.config import export_config
from mgil.engine.export.formats import format_table
from mgil.engine.prediction.config import detect_config
from mgil.engine.training.config import train_config
from mgil.engine.weights.carry_over_config import CarryOverConfig
from mgil.files.flags import build
from mgil.files.names import hint_for
from mgil.tasks.registry import DEFAULT_TASK, task_names

Arguments = Sequence[str] | None
DESCRIPTIONS = {
    "train": "Train a network: %(prog)s [TASK] [flags], where TASK is detect by default.",
    "val": "Evaluate weights on a data set: COCO AP, precision, recall, F1, or accuracy; confusion matrix, speed.",
    "detect": "Find objects in pictures, videos and streams, or poses, or classes: "
    "%(prog)s --weights best.pt --source folder/",
    "export": "Write weights in the formats of other runtimes: %(prog)s --weights best.pt --include onnx openvino",
    "carry-over": "Write weights whose MGIL blocks begin as the stride-2 layers of others, with the same outputs: "
    "%(prog)s --weights yolov5n.pt --cfg yolov5n-mgil-res.yaml",
}


def train(arguments: Arguments = None, prog: str | None = None) -> None:
    """Run `train.py`.

    Args:
        arguments: The command line without the program's name; None: that of this process.
        prog: The program's name in the help; None: that of the running script.

    Raises:
        SystemExit: The run failed, or was stopped; what to do is printed.
    """
    with one_line_errors():
        words = list(sys.argv[1:] if arguments is None else arguments)
        task = words.pop(0) if words and not words[0].startswith("-") else DEFAULT_TASK
        if task not in task_names():
            hint = hint_for(task, task_names(), quoted=False) or f"there is {', '.join(task_names())}"
            fail(f"{task}: no such task; {hint}", status=2)
        kind = train_config(task)
        given = parser_for(kind, description=DESCRIPTIONS["train"], prog=prog).given(words)
        config = build(kind, given)
        if config.evolve:
            from mgil.engine.training.evolve import run_evolve as run
        else:
            from mgil.engine.training.run import run_train as run

        run_cli(lambda: run(config, given=given, program=prog or "train.py"))


def val(arguments: Arguments = None, prog: str | None = None) -> None:
    """Run `val.py`; arguments and errors as for `train`."""
    with one_line_errors():
        config = parse(val_config(), arguments, description=DESCRIPTIONS["val"], prog=prog)
        from mgil.engine.evaluation.run import run_val

        run_cli(lambda: run_val(config))


def detect(arguments: Arguments = None, prog: str | None = None) -> None:
    """Run `detect.py`; arguments and errors as for `train`."""
    with one_line_errors():
        config = parse(detect_config(), arguments, description=DESCRIPTIONS["detect"], prog=prog)
        from mgil.engine.prediction.run import run_detect

        run_cli(lambda: run_detect(config))


def export(arguments: Arguments = None, prog: str | None = None) -> None:
    """Run `export.py`; arguments and errors as for `train`."""
    with one_line_errors():
        config = parse(export_config(), arguments, description=DESCRIPTIONS["export"], prog=prog, epilog=format_table())
        from mgil.engine.export.run import run_export

        run_cli(lambda: run_export(config))


def carry_over(arguments: Arguments = None, prog: str | None = None) -> None:
    """Run `mgil carry-over`; arguments and errors as for `train`."""
    with one_line_errors():
        config = parse(CarryOverConfig, arguments, description=DESCRIPTIONS["carry-over"], prog=prog)
        from mgil.engine.weights.carry_over import run_carry_over

        run_cli(lambda: run_carry_over(config))


COMMANDS: dict[str, Callable[[Arguments, str], None]] = {
    "train": train,
    "val": val,
    "detect": detect,
    "export": export,
    "carry-over": carry_over,
}


def main(arguments: Arguments = None) -> None:
    """Run `mgil`: its first argument names the command, the others are the command's.

    Raises:
        SystemExit: As the command does; with exit code 2 for a command that there is not.
    """
    given = sys.argv[1:] if arguments is None else arguments
    word, *others = given or ["--help"]
    if word in ("-h", "--help"):
        print(_help())
    elif word in COMMANDS:
        COMMANDS[word](others, f"mgil {word}")
    else:
        fail(f"{word}: no such command; {hint_for(word, COMMANDS, quoted=False) or 'mgil --help lists them'}", status=2)


def _help() -> str:
    rows = [f"  {name:12}{text % {'prog': f'mgil {name}'}}" for name, text in DESCRIPTIONS.items()]
    usage = f"usage: mgil {{{','.join(COMMANDS)}}} [flags]"
    return "\n".join([usage, "", *rows, "", "mgil COMMAND --help lists the flags of a command."])
