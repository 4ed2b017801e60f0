"""detect.py from the command line: flags, console, outputs, errors."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import detect
from mgil.engine.cli import parse, run_cli
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import DetectSummary, check_display, newest_weights, run_detect
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.files.shipped import EXAMPLES
from mgil.files.written_files import LIST_NAME
from mgil.networks.detector import build_model
from mgil.tasks.detect.predictor import Detector

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights: at a confidence of 0 it finds something everywhere."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    save_checkpoint(path, build_model("yolov5n.yaml", names=("cat", "dog"), imgsz=64), {"epoch": 0})
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    random = np.random.default_rng(0)
    for name, size_hw in (("a.png", (64, 64)), ("b.jpg", (40, 60))):
        Image.fromarray(random.integers(0, 256, (*size_hw, 3), np.uint8)).save(folder / name)
    return folder


def run(weights: Path, source: Path, tmp_path: Path, *flags: str) -> tuple[DetectSummary, list[str]]:
    lines: list[str] = []
    common = ["--weights", str(weights), "--source", str(source), "--project", str(tmp_path / "out"), "--device", "cpu"]
    config = parse(DetectConfig, [*common, "--conf-thres", "0", "--max-det", "4", *flags])
    return run_detect(config, lines.append), lines


def files(summary: DetectSummary) -> list[str]:
    """What a run wrote, besides the list of it."""
    assert summary.folder is not None
    found = [path.relative_to(summary.folder).as_posix() for path in summary.folder.rglob("*") if path.is_file()]
    found.remove(LIST_NAME)
    return sorted(found)


# Flags ---------------------------------------------------------------------------------------------------------------
def test_defaults_are_yolov5s() -> None:
    config = parse(DetectConfig, [])
    assert config == DetectConfig()
    assert (config.conf_thres, config.iou_thres, config.max_det) == (0.25, 0.45, 1000)
    assert (config.project, config.name, config.line_thickness, config.vid_stride) == ("runs/detect", "exp", 3, 1)
    assert config.source == str(REPOSITORY / "data" / "images")


def test_every_flag_reaches_the_config() -> None:
    flags = (
        "--weights w.pt --source s --data d.yaml --img 96 64 --conf-thres 0.1 --iou-thres 0.2 --max-det 7 --device cpu "
        "--view-img --save-txt --save-csv --save-conf --save-crop --nosave --classes 0 2 --agnostic-nms --augment "
        "--visualize --project p --name n --exist-ok --line-thickness 1 --hide-labels --hide-conf --half "
        "--amp fp16 "
        "--vid-stride 3 --track botsort --download"
    )
    assert parse(DetectConfig, flags.split()) == DetectConfig(
        weights="w.pt", source="s", data="d.yaml", imgsz=(96, 64), conf_thres=0.1, iou_thres=0.2, max_det=7,
        device="cpu", view_img=True, save_txt=True, save_csv=True, save_conf=True, save_crop=True, nosave=True,
        classes=(0, 2), agnostic_nms=True, augment=True, visualize=True, project="p",
        name="n", exist_ok=True, line_thickness=1, hide_labels=True, hide_conf=True, half=True, vid_stride=3,
        track="botsort", download=True, amp="fp16",
    )  # fmt: skip


@pytest.mark.parametrize("alias", ["--imgsz", "--img", "--img-size"])
def test_size_aliases(alias: str) -> None:
    assert parse(DetectConfig, [alias, "320"]).imgsz == (320,)


def test_flags_that_make_no_sense_together() -> None:
    with pytest.raises(ValueError, match="--save-txt"):
        parse(DetectConfig, ["--save-conf"])


@pytest.mark.parametrize("flags", ["--line-thickness 1", "--hide-labels", "--hide-conf"])
def test_flags_about_pictures_need_pictures(flags: str) -> None:
    word = flags.split()[0]
    with pytest.raises(ValueError, match=f"^{word} is about pictures, which --nosave leaves out; give one of them$"):
        parse(DetectConfig, ["--nosave", "--save-crop", *flags.split()])
    parse(DetectConfig, ["--nosave", "--view-img", *flags.split()])
    parse(DetectConfig, flags.split())
    parse(DetectConfig, ["--nosave", "--line-thickness", "3"])  # the default


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--img 1 2 3", "--img 1 2 3: give one side, or height and width"),
    ],
)
def test_too_many_values(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(DetectConfig, flags.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_flag_of_yolov5_that_is_left_out_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(DetectConfig, ["--save-format", "1"])
    assert ended.value.code != 0
    assert "--save-format is not available: label files have YOLO's format" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags", ["--update", "--dnn", "--conf-thres 2", "--vid-stride 0", "--nonsense", "--line-thickness 0"]
)
def test_flags_that_end_the_program(flags: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(DetectConfig, flags.split())
    assert ended.value.code != 0
    assert flags.split()[0] in capsys.readouterr().err


# Runs ----------------------------------------------------------------------------------------------------------------
def test_pictures_with_every_output(weights: Path, pictures: Path, tmp_path: Path) -> None:
    summary, lines = run(weights, pictures, tmp_path, "--save-txt", "--save-csv", "--save-conf", "--save-crop")
    assert (summary.frames, summary.detections, summary.skipped) == (2, 8, ())
    names = files(summary)
    assert {"a.png", "b.jpg", "labels/a.txt", "labels/b.txt", "predictions.csv"} <= set(names)
    assert sum(name.startswith("crops/") for name in names) == 8
    assert summary.folder == tmp_path / "out" / "exp"
    assert Image.open(summary.folder / "a.png").size == (512, 512)
    assert Image.open(summary.folder / "b.jpg").size == (480, 320)

    with (summary.folder / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["Image Name"] == "b.jpg"]
    labels = np.loadtxt(summary.folder / "labels/b.txt", ndmin=2)
    boxes = labels[:, 1:5] * (60, 40, 60, 40)
    corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), axis=1)
    table = np.array([[float(row[key]) for key in ("xmin", "ymin", "xmax", "ymax")] for row in rows])
    assert np.abs(corners - table).max() < 0.01
    assert [("cat", "dog")[int(index)] for index in labels[:, 0]] == [row["Prediction"] for row in rows]

    assert lines[1].startswith(f"image 1/2 {pictures / 'a.png'}: 64x64 ")
    assert lines[2].startswith(f"image 2/2 {pictures / 'b.jpg'}: 64x64 ")
    assert lines[1].endswith("ms")
    assert lines[3].startswith("Speed: ")
    assert lines[3].endswith("at shape (1, 3, 64, 64)")
    assert lines[4] == f"Results saved to {summary.folder}; 2 label files in {summary.folder / 'labels'}"


def test_runs_count_up_and_exist_ok_reuses(weights: Path, pictures: Path, tmp_path: Path) -> None:
    folders = [run(weights, pictures / "a.png", tmp_path, *flags)[0].folder for flags in ((), (), ("--exist-ok",))]
    assert [folder.name for folder in folders if folder] == ["exp", "exp2", "exp"]


def test_nosave_writes_nothing_and_makes_no_folder(weights: Path, pictures: Path, tmp_path: Path) -> None:
    summary, lines = run(weights, pictures, tmp_path, "--nosave")
    assert summary.folder is None
    assert not (tmp_path / "out").exists()
    assert not any("saved" in line for line in lines)
    summary, _ = run(weights, pictures, tmp_path, "--nosave", "--save-txt")
    assert files(summary) == ["labels/a.txt", "labels/b.txt"]


def test_size_classes_and_names_take_effect(weights: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "names.yaml").write_text("path: .\ntrain: in\nval: in\nnames: [wolf, lynx]\n")
    flags = ("--img", "96", "32", "--classes", "1", "--data", str(tmp_path / "names.yaml"), "--save-csv")
    summary, lines = run(weights, pictures / "a.png", tmp_path, *flags)
    assert "input up to 96x32 pixels" in lines[0]  # height x width, as the flag and the lines of images
    assert lines[1].split(": ")[1].startswith("32x32 4 lynxs")
    assert summary.folder
    assert "wolf" not in (summary.folder / "predictions.csv").read_text()


def test_hidden_labels_and_thickness_take_effect(weights: Path, pictures: Path, tmp_path: Path) -> None:
    variants: list[tuple[str, ...]] = [
        (),
        ("--hide-labels",),
        ("--hide-conf",),
        ("--line-thickness", "1"),
    ]
    seen = set()
    for flags in variants:
        summary, _ = run(weights, pictures / "a.png", tmp_path, *flags)
        assert summary.folder
        seen.add((summary.folder / "a.png").read_bytes())
    assert len(seen) == len(variants)


def test_augment_pools_three_views(weights: Path, pictures: Path, tmp_path: Path) -> None:
    def count(*flags: str) -> int:
        everything = ("--max-det", "1000", "--iou-thres", "1", "--nosave")
        return run(weights, pictures / "a.png", tmp_path, *everything, *flags)[0].detections

    finest, middle, coarsest = (3 * side**2 for side in (8, 4, 2))  # boxes of each level at 64x64 pixels
    assert count() == finest + middle + coarsest
    # all three views are padded to 64x64; the first is without its coarsest level, the last without its finest
    assert count("--augment") == (finest + middle) + (finest + middle + coarsest) + (middle + coarsest)


def test_agnostic_suppression_takes_effect(weights: Path, pictures: Path, tmp_path: Path) -> None:
    def count(*flags: str) -> int:
        return run(
            weights, pictures / "a.png", tmp_path, "--max-det", "1000", "--iou-thres", "0.1", "--nosave", *flags
        )[0].detections

    assert 0 < count("--agnostic-nms") < count()


def test_same_stem_in_two_folders_is_kept_apart(weights: Path, tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / folder / "a.png")
    summary, lines = run(weights, tmp_path / "[xy]" / "*.png", tmp_path, "--save-txt")
    assert f" {tmp_path / 'x' / 'a.png'}: " in lines[1]
    assert f" {tmp_path / 'y' / 'a.png'} (as a-2): " in lines[2]
    assert files(summary) == ["a-2.png", "a.png", "labels/a-2.txt", "labels/a.txt"]


def test_video_is_written_at_its_rate(weights: Path, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for _ in range(7):
        writer.write(np.full((48, 64, 3), 120, np.uint8))
    writer.release()
    summary, lines = run(weights, tmp_path / "v.avi", tmp_path, "--vid-stride", "2", "--save-txt")
    assert summary.frames == 3
    assert files(summary) == ["labels/v_2.txt", "labels/v_4.txt", "labels/v_6.txt", "v.mp4"]
    assert f"video 1/1 (4/7) {tmp_path / 'v.avi'}: 64x64 " in lines[2]
    assert summary.folder
    capture = cv2.VideoCapture(str(summary.folder / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 10
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 512
    capture.release()


def test_corrupt_picture_is_skipped_and_counted(weights: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "aa.png").write_bytes(b"garbage")
    summary, lines = run(weights, pictures, tmp_path)
    assert summary.frames == 2
    assert len(summary.skipped) == 1
    assert lines[-1] == "1 files could not be read and were skipped"


def test_nothing_readable_is_an_error_and_leaves_no_folder(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"garbage")
    for source in (tmp_path / "in", tmp_path / "in" / "a.png"):
        with pytest.raises(ValueError, match="a.png"):
            run(weights, source, tmp_path)
    assert not (tmp_path / "out").exists()


def write_clip(path: Path, count: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20, (64, 48))
    for _ in range(count):
        writer.write(np.full((48, 64, 3), 120, np.uint8))
    writer.release()


def test_interrupt_closes_the_files(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "v.mp4", 9)
    calls = []
    real = Detector.__call__

    def interrupted(self: Detector, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(weights, tmp_path / "v.mp4", tmp_path)
    capture = cv2.VideoCapture(str(tmp_path / "out" / "exp" / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    capture.release()


@pytest.mark.parametrize(
    ("number", "end", "code"), [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)]
)
def test_signals_let_the_picture_in_hand_be_finished(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    end: type[BaseException],
    code: int | None,
) -> None:
    write_clip(tmp_path / "v.mp4", 9)
    calls = []
    real = Detector.__call__

    def signalled(self: Detector, *arguments: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), number)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "__call__", signalled)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(end) as caught:
        run(weights, tmp_path / "v.mp4", tmp_path, "--save-txt")
    assert getattr(caught.value, "code", None) == code
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    folder = tmp_path / "out" / "exp"
    assert sorted(path.name for path in (folder / "labels").iterdir()) == [f"v_{index}.txt" for index in range(1, 5)]
    capture = cv2.VideoCapture(str(folder / "v.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    capture.release()


def test_newest_training_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=": train first, or give --weights FILE"):
        newest_weights()
    for age, name in enumerate(("exp2", "exp", "exp3")):
        path = tmp_path / "runs/train" / name / "weights/best.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        os.utime(path, (1000 - age, 1000 - age))
    for other in ("runs/study/cell", "runs/demo/train"):  # newer, and elsewhere
        (tmp_path / other / "weights").mkdir(parents=True)
        (tmp_path / other / "weights/best.pt").touch()
    assert newest_weights() == Path("runs/train/exp2/weights/best.pt")
    deeper = Path("runs/train/coco/exp/weights/best.pt")  # --name coco/exp
    deeper.parent.mkdir(parents=True)
    deeper.touch()
    assert newest_weights() == deeper


def test_no_window_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ValueError, match="--view-img"):
        check_display()


def test_example_pictures_are_small_and_ours() -> None:
    pictures = sorted(EXAMPLES.glob("*.png"))
    assert len(pictures) >= 2
    for path in pictures:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")


# The program ---------------------------------------------------------------------------------------------------------
@pytest.mark.nightly
def test_program_runs_on_the_examples_from_anywhere(weights: Path, tmp_path: Path) -> None:
    flags = ["--weights", str(weights), "--device", "cpu", "--conf", "0", "--max-det", "3"]
    command = [sys.executable, str(REPOSITORY / "detect.py"), *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"Results saved to {Path('runs/detect/exp')}"
    assert len(list((tmp_path / "runs/detect/exp").glob("*.png"))) == len(list(EXAMPLES.glob("*.png")))


def test_errors_end_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["detect.py", "--weights", "gone.pt"])
    with pytest.raises(SystemExit) as ended:
        run_cli(detect.main)
    assert ended.value.code != 0
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert "gone.pt" in output.err


def test_half_on_a_cpu_is_refused(weights: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CUDA"):
        run(weights, pictures, tmp_path, "--half")
