"""`--amp`: what it means on each device, in every command the same, and what it says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mgil import load_model
from mgil.engine import devices
from mgil.engine.amp import AMP_CHOICES
from mgil.engine.devices import FOUND_AMX, amp_on, has_amx, has_bfloat16, slow_amp
from mgil.engine.evaluation.config import ValConfig
from mgil.engine.evaluation.evaluate import _Clock
from mgil.engine.evaluation.run import run_val
from mgil.engine.hub.load import open_named, open_weights
from mgil.engine.prediction.config import DetectConfig
from mgil.engine.prediction.run import run_detect
from mgil.engine.runtimes.load import chosen_amp
from mgil.engine.training.config import TrainConfig
from mgil.engine.weights.checkpoints import save_checkpoint
from mgil.networks.detector import build_model
from tests.engine.tiny import NAMES, TINY, make_data, random_squares

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SLOW = "--amp bf16: this CPU has no instructions for bfloat16, which is slower here than float32"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny network of random weights, which finds something everywhere."""
    torch.manual_seed(0)
    model = build_model(TINY, names=NAMES, imgsz=32)
    with torch.no_grad():
        for layer in model.head.m:
            layer.bias.view(3, -1)[:, 4:] = 1.0  # type: ignore[operator,union-attr]
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    save_checkpoint(path, model, {})
    return path


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Give this CPU AMX, or take all that it has for bfloat16 away."""
    monkeypatch.setattr(devices, "_has", lambda *_flag: False)
    return lambda here: monkeypatch.setattr(devices, "has_amx", lambda: here)


# What the CPU has -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("highest", "listed", "amx_there", "any_there"),
    [
        ("", ("amx_bf16", "amx_tile", "avx512_bf16"), True, True),
        ("", ("amx_tile", "avx512_bf16"), False, True),  # Zen 4
        ("", ("amx_bf16",), True, True),
        ("", ("avx512_f", "avx512_vnni"), False, False),
        ("", ("neon", "bf16"), False, False),  # an ARM
        ("avx512_core_amx", ("amx_bf16",), True, True),
        ("AVX512_CORE_AMX", ("avx512_bf16",), False, True),
        ("DEFAULT", ("amx_bf16",), True, True),
        # what follows forbids oneDNN the one, the other or both
        ("AVX512_CORE_BF16", ("amx_bf16", "avx512_bf16"), False, True),
        ("avx512_core_fp16", ("amx_bf16", "avx512_bf16"), False, True),
        ("AVX512_CORE_VNNI", ("amx_bf16", "avx512_bf16"), False, False),
        ("AVX2", ("amx_bf16", "avx512_bf16"), False, False),
    ],
)
def test_what_pytorch_lists(
    highest: str, listed: tuple[str, ...], amx_there: bool, any_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", highest)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(listed, True), raising=False)
    monkeypatch.setattr(devices, "has_amx", has_amx.__wrapped__)  # unremembered
    assert (devices.has_amx(), has_bfloat16()) == (amx_there, any_there)


@pytest.mark.parametrize(
    ("text", "amx_there", "any_there"),
    [
        ("processor : 0\nflags : fpu avx512_bf16 amx_bf16 amx_tile\n", True, True),
        ("flags : fpu avx512_bf16 avx2\n", False, True),
        ("flags : fpu amx_bf16x avx2\n\xff\n", False, False),
        (None, False, False),
    ],
)
def test_with_a_pytorch_that_does_not_list_it(
    text: str | None, amx_there: bool, any_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "")
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(devices, "Path", lambda _name: tmp_path / "cpuinfo")
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text, encoding="latin-1")
    monkeypatch.setattr(devices, "has_amx", has_amx.__wrapped__)
    assert (devices.has_amx(), has_bfloat16()) == (amx_there, any_there)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_pytorch_and_linux_agree_on_this_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "ALL")
    monkeypatch.setattr(devices, "has_amx", has_amx.__wrapped__)
    said = devices.has_amx(), has_bfloat16()
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert (devices.has_amx(), has_bfloat16()) == said


# What a choice means --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("device", "here", "choice", "training", "expected"),
    [
        (CPU, True, "auto", True, "bf16"),
        (CPU, True, "auto", False, "bf16"),
        (CPU, True, "off", False, "off"),
        (CPU, False, "auto", True, "off"),
        (CPU, False, "auto", False, "off"),
        (CPU, False, "bf16", False, "bf16"),
        (GPU, True, "auto", False, "off"),  # val.py and detect.py are float32 there, as in YOLOv5
        (GPU, False, "fp16", False, "fp16"),
        (GPU, False, "bf16", False, "bf16"),
        (torch.device("mps"), True, "auto", True, "off"),
    ],
)
def test_choices(
    device: torch.device, here: bool, choice: str, training: bool, expected: str, amx: Callable[[bool], None]
) -> None:
    amx(here)
    assert amp_on(device, choice, training=training) == expected


def test_instructions_of_avx512_are_used_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody is told that they are slow."""
    monkeypatch.setattr(devices, "has_amx", lambda: False)
    monkeypatch.setattr(devices, "has_bfloat16", lambda: True)
    assert [amp_on(CPU, "auto", training=training) for training in (True, False)] == ["off", "off"]
    assert amp_on(CPU, "bf16") == "bf16"
    assert not slow_amp("bf16", CPU)


@pytest.mark.parametrize(("capability", "expected"), [((8, 0), "bf16"), ((7, 5), "fp16")])
def test_training_on_a_gpu(capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert amp_on(GPU, "auto", training=True) == expected


def test_the_slow_choice_is_told(amx: Callable[[bool], None]) -> None:
    amx(False)
    assert slow_amp("bf16", CPU) == SLOW
    assert not slow_amp("off", CPU) and not slow_amp("bf16", GPU)
    amx(True)
    assert not slow_amp("bf16", CPU)


def test_every_command_has_the_same_flag() -> None:
    flags = [
        item
        for config in (TrainConfig, ValConfig, DetectConfig)
        for item in fields(config)  # type: ignore[arg-type]
        if item.name == "amp"
    ]
    assert len(flags) == 3 and all(item.default == "auto" for item in flags)
    own = [item.metadata["flag"] for item in flags]
    assert len({item.help for item in own}) == 1 and {item.kind.choices for item in own} == {AMP_CHOICES}


@pytest.mark.parametrize("config", [ValConfig, DetectConfig])
def test_two_number_types_contradict_each_other(config: Any, weights: Path) -> None:
    for amp in ("off", "bf16"):
        with pytest.raises(ValueError, match=f"--half computes in float16, --amp {amp} does not; give one of them"):
            config(weights=("w.pt",), half=True, amp=amp)
        with pytest.raises(ValueError, match=f"--amp {amp} does not"):
            load_model(weights, device="cpu", half=True, amp=amp)
    for amp in ("auto", "fp16"):
        assert config(weights=("w.pt",), half=True, amp=amp).half
    with pytest.raises(ValueError, match="--amp 'float16' is not one of auto, off, bf16, fp16"):
        config(weights=("w.pt",), amp="float16")


@pytest.mark.parametrize(
    ("files", "amp", "half", "here", "expected"),
    [
        (("a.pt",), "auto", False, False, "off"),
        (("a.pt",), "auto", False, True, "bf16"),
        (("a.pt",), "off", False, True, "off"),
        (("a.pt", "b.onnx"), "off", False, True, "off"),
        (("a.pt", "b.onnx"), "auto", False, True, "bf16"),
        (("b.onnx",), "auto", False, True, "off"),
        (("b.onnx",), "off", False, True, "--amp off: b.onnx computes in the numbers .* export again without --half"),
        (("a.pt", "b.onnx"), "bf16", False, True, "--amp bf16: b.onnx computes in the numbers .* again with --half"),
        (("b.onnx",), "fp16", False, True, "--amp fp16: b.onnx computes"),
        (("a.pt",), "fp16", False, True, "--amp fp16 needs a GPU, and the device is cpu; use --amp bf16 or off"),
        (("a.pt",), "auto", True, True, "--half needs a CUDA device"),
        (("a.pt",), "half", False, True, "--amp 'half': choose one of auto, off, bf16, fp16"),
    ],
)
def test_files_and_choices(
    files: tuple[str, ...], amp: str, half: bool, here: bool, expected: str, amx: Callable[[bool], None]
) -> None:
    amx(here)
    lines: list[str] = []
    if " " in expected:
        with pytest.raises(ValueError, match=expected):
            chosen_amp(files, amp, half, CPU, lines.append)
    else:
        assert chosen_amp(files, amp, half, CPU, lines.append) == expected and not lines


# The doors ------------------------------------------------------------------------------------------------------------
def test_load_model_computes_as_told(weights: Path, amx: Callable[[bool], None]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    lines: list[str] = []

    def found(**options: Any) -> tuple[str, np.ndarray, np.ndarray]:
        model = load_model(weights, device="cpu", imgsz=64, conf=0.3, iou=1.0, report=lines.append, **options)
        results = model(image)
        order = np.lexsort(results.boxes_xyxy.T)
        assert results.boxes_xyxy.dtype == results.scores.dtype == np.float32
        return model.model.amp, results.boxes_xyxy[order], results.scores[order]

    amx(False)
    plain, told = found(), found(amp="bf16")
    assert plain[0] == "off" and told[0] == "bf16"
    assert lines == [SLOW]
    amx(True)
    by_itself = found()
    assert by_itself[0] == "bf16" and all(map(np.array_equal, by_itself[1:], told[1:]))
    forbidden = found(amp="off")
    assert forbidden[0] == "off" and all(map(np.array_equal, forbidden[1:], plain[1:]))
    assert len(lines) == 1
    assert len(told[1]) == len(plain[1]) > 50 and not np.array_equal(told[2], plain[2])
    assert abs(np.sort(told[2]) - np.sort(plain[2])).max() < 0.02


def test_an_ensemble_has_its_members_in_it(weights: Path) -> None:
    model: Any = load_model([weights, weights], device="cpu", amp="bf16", report=lambda _line: None)
    assert [member.amp for member in model.model.members] == ["bf16", "bf16"]


def test_val_and_detect_compute_as_told(
    weights: Path, private_cache: None, tmp_path: Path, amx: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(tmp_path, [], random_squares(3))
    kinds: list[tuple[str, bool]] = []
    step = _Clock._scaled

    def look(self: _Clock, images: torch.Tensor) -> torch.Tensor:
        scaled = step(self, images)
        kinds.append((self.amp, scaled.is_contiguous(memory_format=torch.channels_last)))
        return scaled

    monkeypatch.setattr(_Clock, "_scaled", look)

    def val(**options: Any) -> tuple[list[str], Any]:
        lines: list[str] = []
        config = ValConfig(
            weights=(str(weights),), data=str(data), device="cpu", imgsz=(32,), workers=0, task="speed", **options
        )
        return lines, run_val(config, lines.append)[32].scores

    amx(True)
    assert FOUND_AMX in val()[0] and FOUND_AMX not in val(amp="off")[0]
    amx(False)
    assert not any("bfloat16" in line for line in val()[0])
    assert val(amp="bf16")[0][0] == SLOW
    assert kinds == [("bf16", True), ("off", False), ("off", False), ("bf16", True)]


def test_detect_says_what_it_computes_in(weights: Path, tmp_path: Path, amx: Callable[[bool], None]) -> None:
    make_data(tmp_path, [], random_squares(1))

    def told(here: bool, amp: str) -> list[str]:
        amx(here)
        lines: list[str] = []
        options: dict[str, Any] = {"weights": str(weights), "source": str(tmp_path / "images/val"), "nosave": True}
        run_detect(DetectConfig(device="cpu", amp=amp, conf_thres=0.3, **options), lines.append)
        return [line for line in lines if "bfloat16" in line]

    assert told(True, "auto") == [FOUND_AMX] and told(False, "bf16") == [slow_amp("bf16", CPU)]
    assert told(True, "off") == told(True, "bf16") == told(False, "auto") == []


# torch.hub ------------------------------------------------------------------------------------------------------------
def test_the_hub_takes_it_too(weights: Path, amx: Callable[[bool], None]) -> None:
    amx(True)
    batch = torch.rand(1, 3, 64, 64)
    opened: Any = open_weights(weights, device="cpu", verbose=False)
    assert opened.amp == "bf16"
    rows, maps = opened(batch)
    assert rows.dtype == torch.float32 and {raw.dtype for raw in maps} == {torch.float32}
    assert torch.equal(rows, opened.model(batch))
    for value, expected in ((False, False), ("auto", "bf16"), ("off", False), ("bf16", "bf16")):
        opened.amp = value
        assert opened.amp == expected and opened.model.amp == (expected or "off")
    exact: Any = open_weights(weights, device="cpu", verbose=False, amp="off")
    assert exact.amp is False
    gap = (exact(batch)[0] - rows).abs()
    assert 0 < gap[..., 4:].max() < 0.02
    assert exact.float().amp is False and opened.float().amp == "bf16"
    assert torch.equal(opened(batch)[0], rows)
    opened.amp = "off"
    assert torch.equal(opened(batch)[0], exact(batch)[0])  # every bit of the weights is there again
    with pytest.raises(ValueError, match="--amp fp16 needs a GPU"):
        exact.amp = "fp16"
    with pytest.raises(AttributeError, match='give "auto", "bf16", "fp16" or "off"'):
        exact.amp = True
    assert exact.amp is False


def test_a_plain_network_of_the_hub_has_none(weights: Path) -> None:
    for call in (
        lambda: open_weights(weights, autoshape=False, amp="bf16"),
        lambda: open_named("yolov5n", pretrained=False, classes=3, amp="off"),
    ):
        with pytest.raises(ValueError, match=r"amp='(bf16|off)': this is the network itself.*torch\.autocast"):
            call()
    assert open_weights(weights, autoshape=False, device="cpu").amp == "off"


def test_an_exported_file_of_the_hub_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from mgil.engine.hub.model import HubModel

    class Exported(torch.nn.Module):
        names, max_stride, imgsz = NAMES, 32, 64

    opened = SimpleNamespace(options=None, names=NAMES, device=CPU, half=False, model=Exported())
    hub: Any = HubModel(SimpleNamespace(), opened, "best.onnx", "auto")  # type: ignore[arg-type]
    assert hub.amp is False
    hub.amp = False
    with pytest.raises(ValueError, match=r"--amp bf16: best\.onnx computes in the numbers it was exported with"):
        hub.amp = "bf16"
