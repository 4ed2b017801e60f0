"""The classes of weights against those of a data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mgil.datasets.reading.config import DataConfig
from mgil.engine.data_of_weights import check_classes
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import TINY

WEIGHTS = ("red", "green", "blue")


def said_of(*names: str) -> str:
    data = DataConfig(Path("d.yaml"), Path("."), (), ("v",), (), names=names, category_ids=tuple(range(len(names))))
    lines: list[str] = []
    check_classes(WEIGHTS, data, lines.append)
    return " ".join(lines)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("red", "green", "blue"), ""),
        (("a", "green", "blue"), "warning: class 0 is 'red' in the weights, 'a' in d.yaml"),
        (("Red", "green", "blue"), "warning: class 0 is 'red' in the weights, 'Red' in d.yaml"),
        (
            ("blue", "red", "green"),
            "class 0 is 'red' in the weights, 'blue' in d.yaml; the classes are the same and matched by name",
        ),
        (
            ("red", "Blue", "green"),
            "class 1 is 'green' in the weights, 'Blue' in d.yaml; the classes are the same and matched by name",
        ),
    ],
)
def test_names_are_compared(names: tuple[str, ...], said: str) -> None:
    assert said_of(*names) == said


@pytest.mark.parametrize("names", [("green", "red", "pink"), ("a", "red", "b"), ("red", "blue", "a")])
def test_classes_that_changed_places_with_others_are_an_error(names: tuple[str, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"is class \d in the weights and class \d in d\.yaml, and not all .*red, green"
    ):
        said_of(*names)


def test_a_json_with_some_of_the_classes_is_told_to_be_that() -> None:
    some = DataConfig(Path("d.yaml"), Path("."), (), ("v.json",), (), names=("blue",), category_ids=(1,))
    with pytest.raises(ValueError, match=r"d\.yaml has 1 class \(blue\); give weights and data that belong together"):
        check_classes(WEIGHTS, some, print)
    with pytest.raises(ValueError, match=r"v\.json has some of them only; give the names of all in the YAML"):
        check_classes(WEIGHTS, replace(some, names_from="v.json"), print)


def test_detect_renames_classes_and_never_swaps_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "w.pt", build_model(TINY, names=WEIGHTS, imgsz=32), {})
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")

    def found(names: str = "") -> list[str]:
        data = tmp_path / "d.yaml" if names else None
        (tmp_path / "d.yaml").write_text(f"val: a\nnames: [{names}]\n")
        lines: list[str] = []
        run_detect(
            DetectConfig(
                str(tmp_path / "w.pt"), str(tmp_path / "a.png"), str(data) if data else None,
                conf_thres=0, max_det=9, nosave=True, device="cpu",
            ),
            lines.append,
        )  # fmt: skip
        (shown,) = (line for line in lines if "32x32" in line and "a.png" in line)
        return [*(line for line in lines if "order" in line), shown.split("32x32 ")[1].rsplit(",", 1)[0]]

    plain = found()[-1]
    assert {word.rstrip("s") for word in plain.replace(",", "").split() if word.isalpha()} <= set(WEIGHTS)
    order, shown = found("Blue, green, red")
    assert order.endswith("w.pt in another order; the names of the weights are used") and shown == plain
    assert found("a, b, c")[-1] == plain.replace("red", "a").replace("green", "b").replace("blue", "c")
    with pytest.raises(ValueError, match=r"'red' is class 0 in the weights and class 1 in .*d\.yaml, and not all"):
        found("a, red, b")
