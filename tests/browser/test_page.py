"""The page in headless Chromium, served by `python -m http.server`, against Python on the same pictures."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mgil.datasets.batches.letterbox import letterbox_image
from mgil.networks.detector import DetectionModel
from mgil.tasks.detect.nms import non_max_suppression
from mgil.tasks.detect.suppression import Suppression
from tests.browser.models import (
    SIZE,
    SQUARES,
    change_metadata,
    export,
    learned_model,
    split_weights,
    squares_picture,
    write_constant,
    write_picture,
)
from tests.browser.site import PATIENCE_MS, Found, Site, assert_same, look_at, open_model, says, shown
from tests.engine.tiny import NAMES
from tests.tasks.detect.judging import detector

REPOSITORY = Path(__file__).resolve().parents[2]
VENDOR = REPOSITORY / "browser" / "vendor"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
WEBCAM = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)
if not VENDOR.is_dir():
    pytest.skip("browser/vendor is not there: npm ci && npm run vendor, in browser/", allow_module_level=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "browser").symlink_to(REPOSITORY / "browser")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = re.search(r"port (\d+)", server.stdout.readline())
        assert port
        yield Site(folder, f"http://127.0.0.1:{port[1]}")
        server.terminate()


@pytest.fixture(scope="module")
def model(site: Site) -> DetectionModel:
    """A detector, also in the site as model.onnx."""
    learned = learned_model()
    export(learned, site.folder / "model.onnx")
    return learned


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "squares.png", squares_picture(0))


@pytest.fixture(scope="module")
def webcam_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fake webcam shows: the first picture, four times as large."""
    picture = cv2.resize(squares_picture(0), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    path = tmp_path_factory.mktemp("film") / "webcam.y4m"
    frame = b"FRAME\n" + cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).tobytes()
    path.write_bytes(b"YUV4MPEG2 W256 H256 F20:1 Ip A1:1 C420\n" + frame * 10)
    return path


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Start browsers, which are closed in the end."""
    with playwright.sync_playwright() as started:
        opened: dict[tuple[str, ...], Any] = {}

        def start(*flags: str) -> Any:
            if flags not in opened:
                opened[flags] = started.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
            return opened[flags]

        yield start
        for browser in opened.values():
            browser.close()


@pytest.fixture
def page(launch: Callable[..., Any], site: Site, webcam_film: Path) -> Iterator[Any]:
    """The page without a model, in a browser with a webcam. Nothing may break or be asked of another server."""
    context = launch(*WEBCAM, f"--use-file-for-fake-video-capture={webcam_film}").new_context()
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(site.page)
    yield page
    context.close()
    assert broken == []
    assert [url for url in asked if not url.startswith((site.address, f"blob:{site.address}"))] == []


def pythons(model: DetectionModel, picture: np.ndarray) -> list[Found]:
    """What Python finds with the picture letterboxed into the model's square."""
    boxed, gain, pad = letterbox_image(picture, (SIZE, SIZE))
    with torch.inference_mode():
        predictions = model(torch.from_numpy(boxed).permute(2, 0, 1)[None].float() / 255)
    rows = non_max_suppression(predictions, 0.25, 0.45)[0].double().numpy()
    height, width = picture.shape[:2]
    boxes = ((rows[:, :4] - np.tile(pad, 2)) / np.tile(gain, 2)).clip(0, (width, height, width, height))
    return [Found(NAMES[int(row[5])], row[4], box) for row, box in zip(rows, boxes, strict=True)]


@pytest.mark.parametrize("number", [0, 1])
def test_finds_what_the_detector_finds(
    page: Any, site: Site, model: DetectionModel, number: int, tmp_path: Path
) -> None:
    picture = write_picture(tmp_path / "squares.png", squares_picture(number))
    open_model(page, site.folder / "model.onnx")
    found = look_at(page, picture)
    results = detector(model, device=torch.device("cpu"), size_hw=(SIZE, SIZE))(picture)
    assert not isinstance(results, list)
    boxes = zip(results.classes, results.scores, results.boxes_xyxy, strict=True)
    assert_same(found, [Found(NAMES[kind], score, box) for kind, score, box in boxes])
    assert sorted(row.name for row in found) == sorted(NAMES[kind] for kind, *_ in SQUARES[number])
    counts = page.locator("#summary").inner_text()
    assert counts.startswith(f"{len(found)} found: 1 × red")
    assert page.locator("#size").inner_text().startswith("64 × 64 px, shown ")
    assert page.locator("#canvas").get_attribute("aria-label") == counts


@pytest.mark.parametrize("size_wh", [(200, 150), (97, 128), (40, 30)])
def test_finds_what_python_finds_at_other_sizes(
    page: Any, site: Site, model: DetectionModel, size_wh: tuple[int, int], tmp_path: Path
) -> None:
    width, height = size_wh
    side = min(size_wh)
    picture = np.full((height, width, 3), 120, np.uint8)
    picture[:side, :side] = cv2.resize(squares_picture(0), (side, side), interpolation=cv2.INTER_NEAREST)
    open_model(page, site.folder / "model.onnx")
    found = look_at(page, write_picture(tmp_path / "other.png", picture))
    assert_same(found, pythons(model, picture))


def test_small_pictures_are_enlarged_and_crisp(page: Any, site: Site, model: DetectionModel, tmp_path: Path) -> None:
    picture = np.tile(squares_picture(0), (1, 2, 1))
    page.set_input_files(
        "#image-file", write_picture(tmp_path / "wide.png", picture)
    )  # it is shown without a model too
    says(page, "#size", "128 × 64 px, shown")
    width, height = page.evaluate("[canvas.width, canvas.height]")
    factor = width // 128
    assert (width, height) == (factor * 128, factor * 64)
    assert factor > 3
    png = base64.b64decode(page.evaluate("canvas.toDataURL()").partition(",")[2])
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(pixels, picture.repeat(factor, axis=0).repeat(factor, axis=1))

    open_model(page, site.folder / "model.onnx")
    says(page, "#summary", "found")
    page.get_by_label("What the network sees").check()
    says(page, "#size", re.compile("^64 × 64 px, shown"))
    width, height = page.evaluate("[canvas.width, canvas.height]")
    assert width == height
    assert width % 64 == 0


def test_thresholds_move_without_the_network(page: Any, site: Site, model: DetectionModel, squares: Path) -> None:
    open_model(page, site.folder / "model.onnx")
    before = look_at(page, squares)
    page.get_by_label("Score at least").fill("0.01")
    page.get_by_label("overlap at most").fill("1")
    scores = [row.score for row in shown(page)]
    assert len(scores) > len(before)
    assert scores == sorted(scores, reverse=True)
    page.get_by_label("Score at least").focus()
    page.keyboard.press("End")
    assert page.locator("#score-value").inner_text() == "0.99"
    assert all(row.score >= 0.99 for row in shown(page))
    page.keyboard.press("ArrowLeft")
    assert page.locator("#score-value").inner_text() == "0.98"


def test_a_model_by_address(page: Any, site: Site, model: DetectionModel, squares: Path) -> None:
    page.goto(f"{site.page}?model=../model.onnx")
    says(page, "#model-text", f"model.onnx: input {SIZE} × {SIZE} px, 3 classes")
    says(page, "#engine", "1 thread")
    assert len(look_at(page, squares)) == 3
    for part in ("prepare", "network", "suppress", "total"):
        assert re.fullmatch(r"(< )?[\d.]+ ms", page.locator(f"#time-{part}").inner_text())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("../missing.onnx", "There is no model at /missing.onnx: the server answered 404."),
        ("https://example.com/model.onnx", "is not on this server"),
        ("http://", "is not on this server"),
        ("index.html", "index.html is no ONNX model"),
    ],
)
def test_addresses_that_are_no_models(page: Any, site: Site, address: str, message: str) -> None:
    page.goto(f"{site.page}?model={address}")
    says(page, "[role=alert]", message)


def wrong_models(model: DetectionModel, right: Path, folder: Path) -> dict[str, str]:
    """Write files that are no usable models; what the page shall say about each."""
    whole = right.read_bytes()
    contents = {
        "empty": b"",
        "text": b"hello, I am a text\n" * 9,
        "pt": b"PK\x03\x04" + bytes(99),
        "cut": whole[: len(whole) // 2],
        "damaged": whole.replace(b"Conv", b"Cqnv"),
    }
    for name, content in contents.items():
        (folder / f"{name}.onnx").write_bytes(content)
    change_metadata(right, folder / "names.onnx", names="{0: 'one'}")
    export(model, folder / "four.onnx", batch_size=4)
    split_weights(right, folder / "split.onnx")
    write_constant(folder / "classifier.onnx", np.ones((1, 1000)))
    write_constant(folder / "half.onnx", np.ones((1, 252, 8)), float16=True)
    return {
        "empty": "empty.onnx is empty.",
        "text": "text.onnx is no ONNX model, or not all of one",
        "pt": "pt.onnx is no ONNX model; it seems to be a PyTorch file. Export it first: python export.py",
        "cut": "cut.onnx is no ONNX model, or not all of one: it ends too early",
        "damaged": "damaged.onnx cannot be loaded: ",
        "names": "names.onnx names 1 class, but its output (1, 252, 8) has room for 3.",
        "four": "four.onnx takes 4 pictures at a time; export it with --batch-size 1",
        "split": "split.onnx keeps its weights in a second file",
        "classifier": "classifier.onnx gives (1, 1000), but a YOLOv5 detector gives (1, boxes, 5 + classes).",
        "half": "half.onnx takes float16 numbers, this page gives float32. Export it without --half.",
    }


def test_wrong_models(page: Any, site: Site, model: DetectionModel, squares: Path, tmp_path: Path) -> None:
    right = site.folder / "model.onnx"
    open_model(page, right)
    for name, message in wrong_models(model, right, tmp_path).items():
        page.set_input_files("#model-file", tmp_path / f"{name}.onnx")
        says(page, "[role=alert]", message)
        says(page, "#model-text", "model.onnx: input")  # the one before stays
    assert len(look_at(page, squares)) == 3
    assert page.locator("[role=alert]").is_hidden()


def test_pictures_and_videos_that_are_none(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("no picture")
    page.set_input_files("#image-file", path)
    says(page, "[role=alert]", "text.png is no picture that this browser can read.")
    page.set_input_files("#video-file", path)
    says(page, "[role=alert]", "text.png is no video that this browser can play.")


@pytest.mark.parametrize(
    ("missing", "message"), [("*", "npm ci && npm run vendor"), ("*.wasm", "is browser/vendor/ complete?")]
)
def test_the_runtime_is_not_there(page: Any, site: Site, model: DetectionModel, missing: str, message: str) -> None:
    page.route(f"**/vendor/{missing}", lambda route: route.abort())
    page.set_input_files("#model-file", site.folder / "model.onnx")
    says(page, "[role=alert]", message)


def test_the_webcam(page: Any, site: Site, model: DetectionModel) -> None:
    page.get_by_role("button", name="Webcam").click()
    says(page, "#source-text", "Webcam")
    open_model(page, site.folder / "model.onnx")  # while it runs
    says(page, "#summary", "found")
    says(page, "#time-fps", re.compile(r"^[\d.]+$"))
    assert {row.name for row in shown(page)} == set(NAMES)
    page.get_by_role("button", name="Pause").click()
    says(page, "#pause", "Resume")
    page.get_by_label("Score at least").fill("0.98")
    page.get_by_role("button", name="Resume").click()
    says(page, "#pause", "Pause")
    page.get_by_role("button", name="Stop").click()
    assert page.get_by_role("button", name="Stop").is_hidden()
    page.get_by_label("Score at least").fill("0.25")  # the last frame stays
    assert {row.name for row in shown(page)} == set(NAMES)


@pytest.mark.parametrize(
    ("flags", "message"), [((), "No webcam was found"), (WEBCAM[:1], "The webcam may not be used")]
)
def test_no_webcam(launch: Callable[..., Any], site: Site, flags: tuple[str, ...], message: str) -> None:
    page = launch(*flags).new_page()
    page.goto(site.page)
    page.get_by_role("button", name="Webcam").click()
    says(page, "[role=alert]", message)
    page.close()


def test_a_video(page: Any, site: Site, model: DetectionModel, tmp_path: Path) -> None:
    path = tmp_path / "squares.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"VP80"), 10, (256, 256))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no VP8")
    for number in [0] * 10 + [1] * 10:
        frame = cv2.resize(squares_picture(number), (256, 256), interpolation=cv2.INTER_NEAREST)
        writer.write(frame[..., ::-1])
    writer.release()
    open_model(page, site.folder / "model.onnx")
    page.set_input_files("#video-file", path)
    says(page, "#source-text", "squares.webm, 256 × 256 px")
    says(page, "#summary", "1 × green")
    playwright.expect(page.locator("#summary")).not_to_contain_text("green", timeout=PATIENCE_MS)  # the second picture
    says(page, "#summary", "1 × green")  # from the beginning again
    says(page, "#time-fps", re.compile(r"^[\d.]+$"))


def test_a_model_that_suppresses_itself(
    page: Any, site: Site, model: DetectionModel, squares: Path, tmp_path: Path
) -> None:
    open_model(page, export(model, tmp_path / "best.onnx", inside=Suppression()))
    says(page, "#model-text", "NMS inside")
    assert page.get_by_label("overlap at most").is_disabled()
    assert_same(look_at(page, squares), pythons(model, squares_picture(0)))


def test_scores_that_a_file_left_out_cannot_be_asked_for(
    page: Any, site: Site, model: DetectionModel, squares: Path, tmp_path: Path
) -> None:
    inside = export(model, tmp_path / "best.onnx", inside=Suppression(conf_thres=0.4))
    open_model(page, inside)
    says(page, "#model-text", "NMS inside for scores from 0.4")
    score = page.get_by_label("Score at least")
    assert (score.get_attribute("min"), score.input_value()) == ("0.40", "0.4")
    assert page.locator("#score-value").inner_text() == "0.40"
    open_model(page, site.folder / "model.onnx")
    assert score.get_attribute("min") == "0.01"
    open_model(page, change_metadata(inside, tmp_path / "one.onnx", names="{0: 'red'}"))
    assert {row.name for row in look_at(page, squares)} == {"red"}


@pytest.mark.parametrize("option", ["dynamic", "half"])
def test_other_kinds_of_files(
    page: Any, site: Site, model: DetectionModel, squares: Path, option: str, tmp_path: Path
) -> None:
    open_model(page, export(model, tmp_path / "best.onnx", **{option: True}))
    says(page, "#model-text", "input 64 × 64 px")  # a dynamic model's: the one it was trained at
    assert_same(look_at(page, squares), pythons(model, squares_picture(0)))


def test_keyboard_and_phone(launch: Callable[..., Any], site: Site, model: DetectionModel, squares: Path) -> None:
    context = launch().new_context(viewport={"width": 360, "height": 740}, device_scale_factor=3)
    page = context.new_page()
    page.goto(f"{site.page}?model=/model.onnx")
    look_at(page, squares)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("canvas.width / 3 / canvas.getBoundingClientRect().width") == pytest.approx(1, abs=0.01)
    page.focus("#model-file")  # Chromium's versions differ in where the first Tab leads
    reached = ["model-file"]
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert reached == ["model-file", "image-file", "video-file", "webcam", "score", "iou", "input-view", "table"]
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, button')].filter((e) => !e.labels?.length && !e.textContent).length"
    )
    assert unnamed == 0
    context.close()
