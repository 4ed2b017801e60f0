"""Models as torch.hub gives them: calls, settings, devices, entry points."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hubconf
from mgil import load_model
from mgil.engine.command import export
from mgil.engine.hub.command import main
from mgil.engine.hub.detections import Detections
from mgil.engine.weights.checkpoints import load_checkpoint, model_from_checkpoint, save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import TINY

REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = ("red", "green", "blue")
RANDOM = np.random.default_rng(0)
ARRAY = RANDOM.integers(0, 256, (48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of random weights: at a confidence of 0 it finds something everywhere."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    save_checkpoint(path, build_model(TINY, names=NAMES, imgsz=64), {})
    return path


def hub(path: Path, entry: str = "custom", **options: Any) -> Any:
    return torch.hub.load(str(REPOSITORY), entry, path=str(path), source="local", device="cpu", **options)


@pytest.fixture
def model(weights: Path) -> Any:
    loaded = hub(weights, _verbose=False)
    loaded.conf, loaded.max_det = 0.0, 5
    return loaded


def test_it_is_the_model_that_load_model_gives(weights: Path, model: Any, tmp_path: Path) -> None:
    Image.fromarray(ARRAY).save(tmp_path / "a.png")
    deep = ARRAY[..., 0].astype(np.uint16) * 257  # 16 bits
    images = [
        str(tmp_path / "a.png"),
        tmp_path / "a.png",
        ARRAY,
        ARRAY[..., ::-1][..., ::-1],
        Image.fromarray(ARRAY),
        deep,
    ]
    for options, call in (
        ({}, {}),
        ({"imgsz": 96}, {"size": 96}),
        ({"imgsz": (32, 96)}, {"size": (32, 96)}),
        ({"augment": True}, {"augment": True}),
    ):
        expected = load_model(weights, device="cpu", conf=0.0, max_det=5, **options)(images)
        found = model(images, **call)
        assert isinstance(found, Detections) and len(found) == 6
        for ours, theirs, rows in zip(found.results, expected, found.pred, strict=True):
            assert len(ours) == 5 and ours.input_hw == theirs.input_hw
            assert np.array_equal(ours.boxes_xyxy, theirs.boxes_xyxy) and np.array_equal(ours.scores, theirs.scores)
            assert np.array_equal(rows[:, :4].numpy(), theirs.boxes_xyxy)
    assert found.files == ["a.jpg", "a-2.jpg", "image2.jpg", "image3.jpg", "image4.jpg", "image5.jpg"]
    assert len(model(ARRAY, 96)) == 1 and len(model([])) == 0


def test_settings_are_the_options_of_load_model(weights: Path, model: Any) -> None:
    assert (model.iou, model.classes, model.agnostic, model.multi_label, model.amp) == (0.45, None, False, False, False)
    assert (model.stride, model.nc, dict(model.names)) == (32, 3, dict(enumerate(NAMES)))
    given = {"conf": 0.01, "iou": 0.3, "classes": [0, 2], "max_det": 7, "agnostic": True}
    for name, value in given.items():
        setattr(model, name, value)
        assert getattr(model, name) == value
    expected = load_model(weights, device="cpu", **given | {"classes": (0, 2)})(ARRAY)
    assert np.array_equal(model(ARRAY)[0].boxes_xyxy, expected.boxes_xyxy) and len(expected)
    for classes in (np.array([0, 2]), torch.tensor([0, 2]), range(0, 3, 2), (np.int64(0), 2)):
        model.classes = classes
        assert model.classes == [0, 2]
    model.conf = np.float32(0.5)
    assert model.conf == 0.5
    model.conf, model.classes, model.multi_label, model.amp = 0.01, None, False, False
    assert model.classes is None
    model.names = {0: "a", 1: "b", 2: "c"}
    assert model(ARRAY).names == {0: "a", 1: "b", 2: "c"} and model(ARRAY)[0].names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "value", "kind", "message"),
    [
        ("conf", 2, ValueError, "--conf-thres 2 is not a number from 0 to 1"),
        ("iou", "high", ValueError, "--iou-thres"),
        ("classes", [99], ValueError, "99: the model has 3 classes"),
        ("classes", [], ValueError, "the model has 3 classes"),
        ("classes", 0, ValueError, "give a tuple"),
        ("classes", np.array([[1]]), ValueError, "--classes"),
        ("conf", None, ValueError, "--conf-thres None"),
        ("conf", np.float32(2), ValueError, "--conf-thres 2.0"),
        ("names", 5, ValueError, "give the name of each class"),
        ("max_det", 0, ValueError, "--max-det 0"),
        ("agnostic", 1, ValueError, "--agnostic-nms 1"),
        ("names", ["a"], ValueError, "1 for the model's 3 classes"),
        ("names", {1: "a", 2: "b", 3: "c"}, ValueError, "give the name of each class"),
        ("names", "abc", ValueError, "give the name of each class"),
        ("names", ["a", "b", "\n"], ValueError, "cannot be printed"),
        ("multi_label", True, AttributeError, "its best class alone"),
        ("amp", True, AttributeError, r"model\.half\(\)"),
        ("imgsz", 320, AttributeError, r"model\(images, size=320\)"),
        ("confs", 0.1, AttributeError, "did you mean conf"),
        ("stride", 8, AttributeError, "cannot be set"),
    ],
)
def test_what_cannot_be_set(model: Any, name: str, value: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        setattr(model, name, value)
    assert (model.conf, model.max_det, model.classes, tuple(model.names.values())) == (0.0, 5, None, NAMES)


def test_names_are_a_dict_in_which_one_may_be_set(model: Any) -> None:
    assert type(model.names) is dict and json.loads(json.dumps(model.names))["0"] == "red"
    assert pickle.loads(pickle.dumps(model.names)) == model.names
    model.names[0] = "other"
    found = model(ARRAY)
    assert found.names[0] == found[0].names[0] == "other" and model.names[0] == "other"
    model.names[7] = "eighth"
    assert model.nc == 3
    with pytest.raises(ValueError, match="give the name of each class"):
        model(ARRAY)


@pytest.mark.parametrize("name", ["fuse", "yaml", "dmb", "qqq"])
def test_what_is_not_here_says_what_takes_its_place(model: Any, name: str) -> None:
    with pytest.raises(AttributeError, match=f"no {name} on a model of torch.hub: ."):
        getattr(model, name)


def test_a_tensor_gives_what_the_network_gives(weights: Path, model: Any) -> None:
    images = torch.rand(2, 3, 64, 96)
    predictions, maps = model(images)
    network = model_from_checkpoint(weights)
    assert torch.equal(predictions, network(images)) and predictions.shape == (2, 3 * (96 + 24 + 6), 8)
    assert [tuple(one.shape) for one in maps] == [(2, 3, 8, 12, 8), (2, 3, 4, 6, 8), (2, 3, 2, 3, 8)]
    augmented, nothing = model(images, augment=True)
    assert nothing is None and augmented.shape[1] > predictions.shape[1]


@pytest.mark.parametrize(
    ("images", "call", "message"),
    [
        ("https://example.org/a.jpg", {}, "nothing is fetched; save the picture"),
        (["rtsp://camera/1"], {}, "nothing is fetched"),
        (torch.zeros(3, 64, 64), {}, r"give \(batch, 3, height, width\)"),
        (torch.zeros(1, 4, 64, 64), {}, r"give \(batch, 3, height, width\)"),
        (torch.zeros(0, 3, 64, 64), {}, "tensor of shape"),
        (torch.zeros(1, 3, 64, 65), {}, "multiples of the stride 32"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {}, "torch.uint8: give float"),
        (torch.full((1, 3, 64, 64), 114.0), {}, "from 114 to 114: give 0..1"),
        (torch.full((1, 3, 64, 64), torch.nan), {}, "from nan"),
        (torch.zeros(1, 3, 64, 64), {"size": 64}, "leave size out"),
        (ARRAY, {"size": 16}, "the smallest size is 32"),
        (ARRAY, {"size": "big"}, "imgsz 'big'"),
        (ARRAY, {"augment": 1}, "--augment 1"),
        (ARRAY.astype(float), {}, "array of float64"),
        (3, {}, "int is no image"),
    ],
)
def test_what_is_no_image(model: Any, images: Any, call: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(images, **call)


def test_moving_and_casting(model: Any) -> None:
    expected = model(ARRAY).pred[0]
    for moved in (
        model.cpu(),
        model.to("cpu"),
        model.to(torch.float32),
        model.float(),
        model.eval(),
        copy.deepcopy(model),
    ):
        assert torch.equal(moved(ARRAY).pred[0], expected)
    for act, message in (
        (lambda: model.half(), "half precision needs a CUDA device"),
        (lambda: model.to(torch.float16), "half precision needs a CUDA device"),
        (lambda: model.double(), "float32 or float16, not torch.float64"),
        (lambda: model.train(), "loaded for inference"),
        (lambda: model.to("meta"), "nothing to compute with"),
        (lambda: model.to("cuda:99"), "stays on cpu: "),
    ):
        with pytest.raises(ValueError, match=message):
            act()
    assert torch.equal(model(ARRAY).pred[0], expected)


@pytest.mark.cuda
def test_on_a_gpu(weights: Path, model: Any) -> None:
    expected = model(ARRAY).pred[0]
    model.cuda()
    assert torch.allclose(model(ARRAY).pred[0], expected, atol=1e-2)
    assert model(torch.zeros(1, 3, 64, 64))[0].is_cuda
    assert torch.allclose(model.half()(ARRAY).pred[0][:, :4], expected[:, :4], atol=1)
    assert torch.allclose(model.float().cpu()(ARRAY).pred[0], expected, atol=0.1)


def test_the_network_itself(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = hub(weights, autoshape=False)
    expected = load_checkpoint(weights).state_dict
    assert not network.training and all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items())
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3 * 84, 8)


def test_models_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    expected = build_model("yolov5n.yaml", num_classes=80)
    save_checkpoint("own.pt", expected, {})
    fresh = hub(Path(), "yolov5n", pretrained=False, classes=5, channels=1)
    assert fresh(torch.zeros(1, 1, 64, 64)).shape == (1, 3 * 84, 10)
    assert hub(Path(), "yolov5n6", pretrained=False, classes=5).stride.tolist() == [8, 16, 32, 64]
    capsys.readouterr()
    found = hub(Path("own.pt"), "yolov5n")
    assert capsys.readouterr().out == "own.pt: 80 classes, input up to 640x640 pixels, on cpu\n" and found.nc == 80
    fitted = hub(Path("own.pt"), "yolov5n", classes=5)
    assert "343 of 349 tensors loaded; not loaded: model.24.m.0.weight" in capsys.readouterr().out
    first = "model.0.conv.weight"
    assert torch.equal(fitted.state_dict()[first], expected.state_dict()[first]) and len(fitted.names) == 5
    for name in ("yolov5n", "yolov5x6"):
        with pytest.raises(FileNotFoundError, match=f"weights {name}.pt do not exist; .*v7.0/{name}.pt.*download=True"):
            torch.hub.load(str(REPOSITORY), name, source="local")
    for options in ({"pretrained": "own.pt"}, {"classes": 0}, {"channels": "3"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            hub(Path("own.pt"), "yolov5n", **options)
    with pytest.raises(FileNotFoundError, match=r"gone\.pt do not exist"):
        hub(Path("gone.pt"))


def test_every_entry_is_a_model() -> None:
    """All that torch.hub.list would show."""
    entries = {name for name in dir(hubconf) if callable(getattr(hubconf, name)) and name[0] != "_"}
    assert entries == {"custom", *(f"yolov5{letter}{six}" for letter in "nsmlx" for six in ("", "6"))}


def test_the_program(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--model", str(weights.with_suffix(""))])
    output = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in output[1:6]] == [f"image {number}/5" for number in range(1, 6)]
    assert output[-1] == "Saved 5 images to runs/detect/exp"
    assert len(list(Path("runs/detect/exp").glob("*.jpg"))) == 5
    with pytest.raises(SystemExit):
        main([])
    assert "yolov5s.pt do not exist" in capsys.readouterr().err


def test_an_exported_file(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "tiny.pt"
    place.write_bytes(weights.read_bytes())
    export(["--weights", str(place), "--img", "64"])
    model = hub(place.with_suffix(".torchscript"), _verbose=False)
    model.conf, model.max_det = 0.0, 5
    expected = load_model(weights, device="cpu", conf=0.0, max_det=5)(RANDOM.integers(0, 256, (64, 64, 3), np.uint8))
    found = model(expected.image, size=64)[0]
    assert np.abs(found.boxes_xyxy - expected.boxes_xyxy).max() < 0.05
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3 * 84, 8) and model.cpu() is model
    main(["--model", "tiny.torchscript"])  # which takes 64 px alone
    assert len(list(Path("runs/detect/exp").glob("*.jpg"))) == 5
    with pytest.raises(ValueError, match="exported for 64x64"):
        model(ARRAY, size=96)
    with pytest.raises(ValueError, match="stays on cpu: an exported file cannot be moved"):
        model.to("meta")
    assert hub(place.with_suffix(".torchscript"), autoshape=False)(torch.zeros(1, 3, 64, 64)).shape == (1, 252, 8)
