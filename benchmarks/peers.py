"""The environment of the peers that the benchmarks measure against: upstream YOLOv5 and ultralytics.

    python -m benchmarks.peers          # makes .venv-peers (about 7 GB with its torch); the benchmarks look there

The peers live apart because they ask for older libraries than this project, and because they install packages and
download fonts of their own accord, which the environment variables here forbid.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from mgil.files.fonts import LETTERS

FOLDER = Path(".venv-peers")
# The last versions of its libraries that upstream YOLOv5 runs with.
REQUIREMENTS = (
    "yolov5==7.0.14", "ultralytics==8.4.190", "torch<2.6", "torchvision<0.21", "numpy<2", "setuptools<81", "onnx<1.18",
)  # fmt: skip
# No package is installed, nothing is looked up on the network.
QUIET = {"YOLOv5_AUTOINSTALL": "false", "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true", "WANDB_MODE": "disabled"}


def peers_python(folder: Path = FOLDER) -> Path | None:
    """The interpreter of the peers' environment, if that was made."""
    for place in ("bin/python", "Scripts/python.exe"):
        if (folder / place).exists():
            return (folder / place).absolute()
    return None


def peers_environment(folder: Path = FOLDER) -> dict[str, str]:
    """Variables for a peer's process: quiet, and with its settings and font inside its own folder."""
    settings = (folder / "settings").absolute()
    # a path to this project's rooms would hide upstream's of the same names
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**inherited, **QUIET, "YOLOV5_CONFIG_DIR": str(settings), "YOLO_CONFIG_DIR": str(settings)}


def make_peers(folder: Path) -> None:
    """Create the environment and put the font there that upstream would download."""
    venv.create(folder, with_pip=True)
    python = peers_python(folder)
    assert python is not None
    subprocess.run([python, "-m", "pip", "install", "--disable-pip-version-check", "-q", *REQUIREMENTS], check=True)
    font = LETTERS.base
    assert font is not None  # one of this project's requirements brings it
    for settings in (folder / "settings", folder / "settings" / "Ultralytics"):
        settings.mkdir(exist_ok=True)
        shutil.copy(font, settings / "Arial.ttf")


def main() -> None:
    """Make the environment, or say that it is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peers", type=Path, default=FOLDER, help="where it goes")
    folder = parser.parse_args().peers
    if peers_python(folder):
        print(f"{folder} is there; delete it to make it anew")
        return
    if sys.version_info >= (3, 13):
        sys.exit("the peers' torch (below 2.6) has no wheels for Python 3.13; run this with 3.10 to 3.12")
    make_peers(folder)
    print(f"{folder} is ready")


if __name__ == "__main__":
    main()
