"""Mixed precision: what each choice means on each device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine import devices
from mgil.engine.amp import AMP_CHOICES
from mgil.engine.devices import FOUND_AMX
from mgil.engine.evaluation.evaluate import _Clock
from mgil.engine.training.precision import Precision, precision_of
from mgil.engine.training.schedule import Schedule, build_optimizer
from mgil.engine.training.trainer import Trainer
from mgil.engine.weights.checkpoints import load_checkpoint
from mgil.files.recipe import load_recipe
from mgil.networks.detector import build_model
from mgil.tasks.detect.criterion import make_loss
from mgil.tasks.detect.recipe import DetectRecipe
from tests.engine.tiny import NAMES, TINY, Playground, same_tensors
from tests.engine.training.running import rows_of, train
from tests.tasks.detect.judging import train_loader
from tests.trust.cutting import cut_run

CPU = torch.device("cpu")
SLOW = "--amp bf16: this CPU has no instructions for bfloat16, which is slower here than float32"


@pytest.mark.parametrize(
    ("choice", "effective", "dtype"),
    [("auto", "off", torch.float32), ("off", "off", torch.float32), ("bf16", "bf16", torch.bfloat16)],
)
def test_choices_on_the_cpu(choice: str, effective: str, dtype: torch.dtype) -> None:
    precision = Precision(choice, CPU)
    assert (precision.choice, precision.dtype) == (effective, dtype)
    with precision.autocast():
        assert nn.Linear(4, 4)(torch.ones(2, 4)).dtype == dtype
    assert nn.Linear(4, 4)(torch.ones(2, 4)).dtype == torch.float32  # and it ends with the block


def test_without_float16_the_scaler_changes_nothing() -> None:
    precision = Precision("bf16", CPU)
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    loss = (weight * 3).sum()
    assert precision.scaler.scale(loss) is loss
    loss.backward()
    precision.scaler.unscale_(optimizer)
    precision.scaler.step(optimizer)
    precision.scaler.update()
    assert weight.item() == pytest.approx(1 - 0.5 * 3)
    assert precision.scaler.state_dict() == {}


def test_float16_needs_a_gpu() -> None:
    with pytest.raises(ValueError, match="--amp fp16 needs a GPU.*cpu"):
        Precision("fp16", CPU)


def test_unknown_choice() -> None:
    with pytest.raises(ValueError, match=f"--amp 'half'.*{', '.join(AMP_CHOICES)}"):
        Precision("half", CPU)


# A run's choice -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("amx", "choice", "resumed", "expected", "line"),
    [
        (True, "auto", False, "bf16", FOUND_AMX),
        (False, "auto", False, "off", ""),
        (True, "off", False, "off", ""),
        (True, "bf16", False, "bf16", ""),
        (False, "bf16", False, "bf16", SLOW),
        # of another machine, and told where this one would choose otherwise
        (True, "bf16", True, "bf16", ""),
        (False, "off", True, "off", ""),
        (False, "bf16", True, "bf16", "goes on with --amp bf16, as it began; --amp auto would be off here"),
        (True, "off", True, "off", "goes on with --amp off, as it began; --amp auto would be bf16 here"),
        # of a GPU
        (True, "fp16", True, "bf16", "--amp fp16 needs a GPU: with --amp bf16 it is another run from here on"),
        (False, "fp16", True, "off", "--amp fp16 needs a GPU: with --amp off it is another run from here on"),
        # of a version that wrote down no more, and computed in float32 on every CPU
        (True, "auto", True, "off", "goes on with --amp off, as it began; --amp auto would be bf16 here"),
        (False, "auto", True, "off", ""),
    ],
)
def test_a_run_keeps_what_it_began_with(
    amx: bool, choice: str, resumed: bool, expected: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_amx", lambda: amx)
    monkeypatch.setattr(devices, "_has", lambda *_flag: False)
    lines: list[str] = []
    precision = precision_of(choice, CPU, resumed, lines.append)
    assert precision.choice == precision.of_validation == expected
    assert line in "".join(lines) and len(lines) == bool(line)


def test_validation_on_a_gpu_is_float32() -> None:
    precision = Precision("off", CPU)
    precision.choice, precision.device = "bf16", torch.device("cuda")
    assert precision.of_validation == "off"


# A step ---------------------------------------------------------------------------------------------------------------
class Watched:
    """A loss that notes what it gets."""

    def __init__(self, loss: Any) -> None:
        self.loss, self.terms = loss, loss.terms
        self.kinds: set[torch.dtype] = set()

    def __call__(self, outputs: list[torch.Tensor], targets: torch.Tensor) -> Any:
        self.kinds |= {output.dtype for output in outputs} | {targets.dtype}
        return self.loss(outputs, targets)


def one_epoch(ground: Playground, amp: str) -> tuple[Trainer, Watched, dict[str, float], set[torch.dtype]]:
    """Two steps of the tiny detector: the training, its loss, the loss's terms, and what its convolutions gave."""
    torch.manual_seed(0)
    recipe = load_recipe(DetectRecipe, ground.hyp)
    model = build_model(TINY, names=NAMES, imgsz=32)
    samples = load_samples(load_data_config(ground.data), "train", report=lambda _line: None)
    loader = train_loader(samples, 32, 8, recipe.augment(), report=lambda _line: None)
    loss = Watched(make_loss(model.head, recipe.loss_gains(32, len(NAMES), model.head.num_levels)))
    optimizer = build_optimizer(model, recipe.optimizer, recipe, 0.0)
    schedule = Schedule(optimizer, recipe, 1, len(loader), 8)
    trainer = Trainer(model, loader, loss, optimizer, schedule, Precision(amp, CPU))  # type: ignore[arg-type]
    kinds: set[torch.dtype] = set()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: kinds.add(output.dtype))
    terms = trainer.train_epoch(0).terms
    loader.close()
    return trainer, loss, terms, kinds


def test_a_step_in_bfloat16_keeps_all_but_the_layers_in_float32(ground: Playground) -> None:
    exact, narrow = one_epoch(ground, "off"), one_epoch(ground, "bf16")
    assert exact[3] == {torch.float32} and narrow[3] == {torch.bfloat16}
    for trainer, loss, _, _ in (exact, narrow):
        assert loss.kinds == {torch.float32}
        floats = [trainer.model.state_dict(), trainer.ema.model.state_dict(), *trainer.optimizer.state.values()]
        values = [value for held in floats for value in held.values() if isinstance(value, torch.Tensor)]
        assert {value.dtype for value in values} <= {torch.float32, torch.int64}
        kernels = [value for value in trainer.model.state_dict().values() if value.dim() == 4 and value.shape[1] > 1]
        assert all(value.is_contiguous(memory_format=torch.channels_last) for value in kernels)
    assert (exact[0].ema.model.amp, narrow[0].ema.model.amp, narrow[0].model.amp) == ("off", "bf16", "off")
    # the same step but for the rounding: AdamW's first ones are as long whatever the gradient, so look at the mean
    for name, value in exact[2].items():
        assert narrow[2][name] == pytest.approx(value, rel=0.03) and narrow[2][name] != value
    ours, theirs = narrow[0].model.state_dict(), exact[0].model.state_dict()
    for key, value in theirs.items():
        if key.endswith("running_mean"):
            assert (ours[key] - value).abs().max() < 0.02 * max(float(value.abs().max()), 0.1), key


# Runs -----------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def bfloat16_run(ground: Playground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """A run of three epochs that nothing interrupts, by `auto` with AMX, and its lines."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "has_amx", lambda: True)
        yield train(ground.config(tmp_path_factory.mktemp("whole"), epochs=3), lines), lines


def test_resume_is_bit_exact_on_another_cpu(
    bfloat16_run: tuple[Path, list[str]], ground: Playground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, said = bfloat16_run
    assert said.count(FOUND_AMX) == 1
    with monkeypatch.context() as patch:
        patch.setattr(devices, "has_amx", lambda: True)
        cut_run(ground.config(tmp_path, epochs=3))
    last = tmp_path / "exp" / "weights" / "last.pt"
    assert load_checkpoint(last).training["config"]["amp"] == "bf16"
    assert "amp: bf16" in (tmp_path / "exp" / "opt.yaml").read_text()
    amps: list[str] = []
    original = _Clock.step

    def step(self: _Clock, *arguments: Any) -> Any:
        amps.append(self.amp)
        return original(self, *arguments)

    monkeypatch.setattr(_Clock, "step", step)
    lines: list[str] = []
    monkeypatch.setattr(devices, "has_amx", lambda: False)
    train(ground.config(tmp_path, epochs=3, resume=str(last)), lines)
    told = [line for line in lines if "--amp" in line]
    assert told == ["the run goes on with --amp bf16, as it began; --amp auto would be off here"]
    assert set(amps) == {"bf16"}  # validations, and the last one of best.pt
    ours, theirs = load_checkpoint(last), load_checkpoint(whole / "weights" / "last.pt")
    assert same_tensors(ours.state_dict, theirs.state_dict)
    assert same_tensors(ours.training["trainer"], theirs.training["trainer"])
    assert rows_of(tmp_path / "exp") == rows_of(whole)


def test_the_file_is_as_that_of_a_float32_run(
    bfloat16_run: tuple[Path, list[str]], ground: Playground, tmp_path: Path
) -> None:
    """Layout and number types of what is written do not depend on what it was computed in."""
    exact = load_checkpoint(train(ground.config(tmp_path, epochs=1)) / "weights" / "last.pt").state_dict
    narrow = load_checkpoint(bfloat16_run[0] / "weights" / "last.pt").state_dict
    assert exact.keys() == narrow.keys()
    for key, value in exact.items():
        assert (narrow[key].dtype, narrow[key].shape, narrow[key].stride()) == (
            value.dtype,
            value.shape,
            value.stride(),
        ), key


@pytest.mark.cuda
def test_auto_on_a_gpu_is_the_best_it_has() -> None:
    precision = Precision("auto", torch.device("cuda"))
    assert precision.choice == ("bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16")


@pytest.mark.cuda
def test_float16_gradients_are_scaled_and_a_step_that_overflows_is_left_out() -> None:
    precision = Precision("fp16", torch.device("cuda"))
    weight = nn.Parameter(torch.ones(1, device="cuda"))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    start = precision.scaler.get_scale()
    assert start > 1
    for gradient in (3.0, float("inf")):
        optimizer.zero_grad()
        precision.scaler.scale((weight * gradient).sum()).backward()
        precision.scaler.unscale_(optimizer)
        precision.scaler.step(optimizer)
        precision.scaler.update()
    assert weight.item() == pytest.approx(1 - 0.5 * 3)
    assert precision.scaler.get_scale() == start / 2
