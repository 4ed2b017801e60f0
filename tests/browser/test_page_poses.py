"""The page with a model for key points, in headless Chromium.

Where ONNX Runtime Web is not in browser/vendor/, a stand-in gives what Python found in the picture.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mgil.tasks.pose.crops import crop_people
from tests.browser.site import PATIENCE_MS, open_model, says
from tests.tasks.pose.mark_network import MarkNetwork, export_marks
from tests.tasks.pose.marks import STICK, joints, picture

FOLDER = Path(__file__).resolve().parents[2] / "browser"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
ADDRESS = "http://page.test/"
SIDE, ENLARGED = 64, 3
STAND_IN = """
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
export const env = { wasm: {}, versions: { web: "stand-in" } };
const run = async () => ({ output0: { data: new Float32Array(JOINTS), dims: [1, 3, 3], type: "float32" } });
const session = { inputNames: ["images"], outputNames: ["output0"], run, release: async () => {} };
session.inputMetadata = [{ shape: [1, 3, SIDE, SIDE], type: "float32" }];
export const InferenceSession = { create: async () => session };
"""

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
pytest.importorskip("onnx", reason="onnx is not installed: pip install onnx")
if CHROMIUM is None:
    pytest.skip("chromium is not installed", allow_module_level=True)


def person() -> np.ndarray:
    """(120, 96, 3): marks that are three times as large."""
    return cv2.resize(picture([(16, 20)], 40, 32), None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_NEAREST)


def wanted() -> np.ndarray:
    """(3, 2) the middles of the marks, where the middle of the first pixel is 0."""
    return (joints([(16, 20)])[0] + 0.5) * ENLARGED - 0.5


@pytest.fixture
def page() -> Iterator[Any]:
    image = person()
    height, width = image.shape[:2]
    crop, _ = crop_people(image, np.array([[0, 0, width, height]]), SIDE)
    model = MarkNetwork(size=SIDE)
    found = model.decode(model(torch.from_numpy(crop).float() / 255)).flatten().tolist()
    stand_in = STAND_IN.replace("JOINTS", json.dumps(found)).replace("SIDE", str(SIDE))

    def serve(route: Any) -> None:
        path = FOLDER / (route.request.url.removeprefix(ADDRESS) or "index.html")
        if path.name == "ort.wasm.min.mjs" and not path.is_file():
            route.fulfill(body=stand_in, content_type="text/javascript")
        else:
            route.fulfill(path=path)

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--disable-gpu", "--no-first-run"])
        page = browser.new_page(viewport={"width": 1000, "height": 760})
        page.set_default_timeout(PATIENCE_MS)
        broken: list[str] = []
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.route(f"{ADDRESS}**", serve)
        page.goto(ADDRESS)
        yield page
        browser.close()
    assert broken == []


def rows(page: Any) -> list[list[str]]:
    return page.evaluate(
        "[...document.querySelectorAll('#rows tr')].map((row) => [...row.cells].map((c) => c.textContent))"
    )


def test_the_page_draws_key_points(page: Any, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "person.png"), person()[..., ::-1])
    open_model(page, export_marks(tmp_path / "pose.onnx", size=SIDE))
    says(page, "#model-text", "pose.onnx: input 64 × 64 px, 3 key points")
    assert page.locator("#score").input_value() == "0.02"
    assert page.locator("#iou").is_disabled()
    page.set_input_files("#image-file", tmp_path / "person.png")
    says(page, "#summary", "3 of 3 key points found")
    table = rows(page)
    assert [row[0] for row in table] == list(STICK.names)
    pixel = 1.25 * 120 / SIDE  # of the input
    places = np.array([row[2:] for row in table], float)
    assert places == pytest.approx(wanted(), abs=0.6 * pixel)
    heads = page.evaluate("[...document.querySelectorAll('#columns th')].map((head) => head.textContent)")
    assert heads == ["Key point", "Score", "X", "Y"]
    factor = page.evaluate("canvas.width") / 96
    for (x, y), colour in zip(
        np.array([row[2:] for row in table], float), ("#2e7d32", "#1565c0", "#c2185b"), strict=True
    ):
        place = [int((x + 0.5) * factor), int((y + 0.5) * factor)]
        pixels = page.evaluate("([x, y]) => [...canvas.getContext('2d').getImageData(x, y, 1, 1).data]", place)
        assert "#" + bytes(pixels[:3]).hex() == colour  # middle, left, right
    page.get_by_label("Score at least").fill("0.99")
    says(page, "#summary", "No key point found")
    assert page.locator("#table").is_hidden()
    page.get_by_label("What the network sees").check()
    says(page, "#size", "64 × 64 px")
