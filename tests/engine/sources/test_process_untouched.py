"""Reading videos and drawing change nothing of the process, the user's folders or the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]

# Every way to the network raises and is counted.
GUARDED = """
import json, os, socket, sys, warnings
touched = []
def refuse(*arguments, **_):
    touched.append(repr(arguments))
    raise OSError("no network in this test")
socket.getaddrinfo = socket.create_connection = socket.gethostbyname = refuse
socket.socket.connect = socket.socket.connect_ex = refuse
import cv2, numpy, torch, PIL.Image
torch.set_num_threads(2)
cv2.setNumThreads(3)
numpy.set_printoptions(precision=3)
torch.set_printoptions(precision=5)
def state():
    options = vars(torch._tensor_str.PRINT_OPTS)
    return {
        "environment": dict(os.environ), "threads": [torch.get_num_threads(), cv2.getNumThreads()],
        "functions": [id(f) for f in (torch.save, torch.load, cv2.imread, cv2.imwrite, cv2.imshow, PIL.Image.open)],
        "numpy": repr(numpy.get_printoptions()), "torch": repr(options), "cudnn": torch.backends.cudnn.benchmark,
        "warnings": len(warnings.filters),
    }
from mgil.engine.prediction.load import load_model
early = sorted({"ultralytics", "matplotlib", "mss"} & set(sys.modules))
import matplotlib
from mgil.tasks.detect.draw import draw_detections
from mgil.files.picture_grid import draw_batch_grid
from mgil.engine.sources.video import read_video
before = state()
picture = draw_detections(numpy.zeros((64, 64, 3), numpy.uint8), numpy.array([[10, 20, 30, 40.0]]),
                          numpy.zeros(1, int), numpy.ones(1), ["zéro один"])
draw_batch_grid(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.tensor([[0, 0, 32, 32, 9, 9.0]]), ["数"], "b.jpg")
writer = cv2.VideoWriter(sys.argv[1], cv2.VideoWriter.fourcc(*"mp4v"), 10, (32, 32))
for _ in range(4):
    writer.write(numpy.full((32, 32, 3), 99, numpy.uint8))
writer.release()
frames = len(list(read_video(sys.argv[1], 1)))
after = state()
print(json.dumps({
    "early": early, "touched": touched, "changed": [key for key in before if before[key] != after[key]],
    "drawn": int(picture.any()), "frames": frames, "late": sorted({"ultralytics", "mss"} & set(sys.modules)),
}))
"""


def test_nothing_outside_is_touched(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "XDG_", "PYTEST_"))}
    environment = {
        **kept,
        "HOME": str(home),
        "USERPROFILE": str(home),
        "APPDATA": str(home),
        "MPLCONFIGDIR": str(tmp_path / "mpl"),
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(tmp_path / "v.mp4")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "early": [],
        "touched": [],
        "changed": [],
        "drawn": 1,
        "frames": 4,
        "late": [],
    }
    assert len(done.stdout.splitlines()) == 1, "something was printed"
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "mpl") == ["b.jpg", "home", "v.mp4"]
