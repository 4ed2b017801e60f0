"""What `pip install .` puts in place, used from a folder of the user's own with modules of common names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.tiny import make_data, random_squares

tomllib = pytest.importorskip("tomllib", reason="tomllib is part of Python from 3.11 on")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a wheel of this project unpacks to, as pyproject.toml says."""
    wheel = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    folder = tmp_path_factory.mktemp("site")
    unwanted = shutil.ignore_patterns("__pycache__")
    for source, place in [*((name, name) for name in wheel["packages"]), *wheel["force-include"].items()]:
        shutil.copytree(REPOSITORY / source, folder / place, ignore=unwanted)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder whose modules have the names of this project's rooms, and must not be imported."""
    for name in ("data", "models", "engine", "files", "tasks", "utils"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the user was imported')\n")
    return tmp_path


def run(site: Path, home: Path, code: str, *words: str) -> str:
    """Run Python in the user's folder, which comes first on its path."""
    paths = os.pathsep.join((str(home), str(site)))
    environment = {**os.environ, "PYTHONPATH": paths, "MGIL_CACHE": str(home / "cache")}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_work_in_any_folder(site: Path, home: Path) -> None:
    data = make_data(home / "set", random_squares(4), random_squares(2, seed=1))
    words = f"--cfg yolov5n.yaml --data {data} --epochs 1 --img 32 --workers 0 --noplots --device cpu".split()
    weights = home / "runs" / "train" / "exp" / "weights" / "best.pt"
    code = """
import sys
from mgil.engine.command import main
weights, *words = sys.argv[1:]
main(["train", *words])
main(["detect", "--weights", weights, "--device", "cpu"])
import mgil
model = mgil.load_model(weights, device="cpu")
print(mgil.__file__, model.names, model.size_hw)
"""
    said = run(site, home, code, str(weights), *words)  # one process: importing PyTorch takes seconds
    assert "Results saved" in said
    assert len(list((home / "runs" / "detect" / "exp").glob("*.*"))) > 1  # data/images of the package
    last = said.rstrip().splitlines()[-1]
    assert last.startswith(str(site)) and last.endswith("(32, 32)")


def test_the_block_needs_torch_alone(site: Path, home: Path) -> None:
    """Other packages that this project uses cannot be imported here."""
    code = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"cv2", "PIL", "yaml", "torchvision", "matplotlib", "tqdm", "scipy", "hotcoco"}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
import torch
from mgil import MGIL, SPDConv, reparameterise, replace_stride2
print(tuple(MGIL(8, 16)(torch.zeros(1, 8, 32, 32)).shape))
"""
    assert run(site, home, code).strip() == "(1, 16, 16, 16)"
