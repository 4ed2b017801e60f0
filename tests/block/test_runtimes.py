"""The block under every way of running it: memory formats, autocast, compiler, TorchScript, ONNX."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mgil.block.flie import SPDConv
from mgil.block.mgil import MGIL
from mgil.block.reparameterise import reparameterise

# TorchScript works and is in use, however much torch prefers its successors.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:`torch.jit:FutureWarning", "ignore:Constant folding:UserWarning"
)

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
OPTIONS: list[dict[str, Any]] = [
    {},
    {"cii_input": "parallel", "mrie": "sum"},
    {"mrie": "concat", "fusion": "sum", "residual": True},
    {"fusion": "none"},
]
OTHER_SIZES = [(1, 5, 8, 6), (3, 5, 7, 13), (2, 5, 1, 1), (1, 5, 2, 3)]


def forms(options: dict[str, Any]) -> list[nn.Module]:
    """Return the trained and the deployed form of a block whose fusion has left its start."""
    block = MGIL(5, 12, **options).eval()
    if block.mgaf is not None:
        nn.init.normal_(block.mgaf.fc.weight)
    return [block, reparameterise(block, convert="always")]


@pytest.fixture(params=OPTIONS, ids=str)
def blocks(request: pytest.FixtureRequest) -> list[nn.Module]:
    return forms(request.param)


@pytest.mark.parametrize("block", [MGIL(5, 12), MGIL(5, 12, cii_input="parallel"), SPDConv(5, 12)])
def test_channels_last(block: nn.Module) -> None:
    x = torch.randn(2, 5, 9, 6)
    expected = block.eval()(x)
    y = block.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_autocast_keeps_the_dtype_and_trains(blocks: list[nn.Module]) -> None:
    x = torch.randn(2, 5, 9, 6)
    for block in blocks:
        expected = block(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = block(x)
        assert y.dtype == torch.bfloat16, "the fusion weights must not turn the maps into float32"
        torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)
    trained = blocks[0].train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = trained(x).float().square().mean()
    loss.backward()
    assert all(torch.isfinite(value.grad).all() for value in trained.parameters())


def test_scripted_block_saves_and_loads(blocks: list[nn.Module]) -> None:
    for block in blocks:
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(block), buffer)
        buffer.seek(0)
        loaded = torch.jit.load(buffer)
        for size in OTHER_SIZES:
            x = torch.randn(size)
            torch.testing.assert_close(loaded(x), block(x))


def test_traced_block_takes_other_sizes(blocks: list[nn.Module]) -> None:
    for block in blocks:
        for traced_size in ((2, 5, 8, 6), (2, 5, 9, 7)):
            traced = torch.jit.trace(block, torch.randn(traced_size))
            for size in OTHER_SIZES:
                x = torch.randn(size)
                torch.testing.assert_close(traced(x), block(x))


@pytest.mark.parametrize("form", [0, 1])
def test_compiles_in_one_graph_for_any_size(form: int) -> None:
    # The graph is what can fail on a block; the nightly test below also makes machine code of it.
    block, graphs = forms({})[form], []

    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=backend)
    for size in ((7, 5, 8, 6), (3, 5, 7, 13), (9, 5, 4, 3), (4, 5, 2, 3)):
        x = torch.randn(size)
        torch.testing.assert_close(compiled(x), block(x))
        assert len(graphs) == 1 or size[2] == 2  # its maps have one row, for which PyTorch makes another graph


@pytest.mark.nightly
def test_compiles_to_machine_code() -> None:
    block, x = MGIL(5, 12, fine_convs=1, coarse_convs=1).eval(), torch.randn(2, 5, 9, 6)
    torch.compiler.reset()
    try:
        compiled = torch.compile(block, fullgraph=True)(x)
    except Exception as error:
        if "compiler" in str(error).lower():
            pytest.skip("no C++ compiler here")
        raise
    torch.testing.assert_close(compiled, block(x), rtol=1e-4, atol=1e-5)


DYNAMO = pytest.param("dynamo", {}, marks=pytest.mark.nightly)


@pytest.mark.parametrize(("exporter", "options"), [*(("torchscript", options) for options in OPTIONS), DYNAMO])
def test_onnx_with_dynamic_axes(exporter: str, options: dict[str, Any], tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    if exporter == "dynamo" and (TORCH < (2, 9) or importlib.util.find_spec("onnxscript") is None):
        pytest.skip("the dynamo exporter needs onnxscript, and was a preview before torch 2.9")
    for number, block in enumerate(forms(options)):
        path = tmp_path / f"{number}.onnx"
        export(block, path, exporter)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for size in OTHER_SIZES:
            x = torch.randn(size)
            (y,) = session.run(None, {"images": x.numpy()})
            np.testing.assert_allclose(y, block(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def export(block: nn.Module, path: Path, exporter: str) -> None:
    names: dict[str, Any] = {"input_names": ["images"], "output_names": ["maps"]}
    x = torch.randn(2, 5, 8, 6)
    if exporter == "torchscript":
        axes = {"images": {0: "batch", 2: "height", 3: "width"}}
        torch.onnx.export(block, (x,), path, dynamo=False, dynamic_axes=axes, **names)
        return
    free = {axis: torch.export.Dim(name, max=4096) for axis, name in ((0, "batch"), (2, "height"), (3, "width"))}
    torch.onnx.export(block, (x,), path, dynamo=True, dynamic_shapes=(free,), verbose=False, **names)


@pytest.mark.cuda
def test_gpu_agrees_with_cpu(blocks: list[nn.Module]) -> None:
    x = torch.randn(2, 5, 9, 6)
    for block in blocks:
        expected = block(x)
        y = block.cuda().to(memory_format=torch.channels_last)(x.cuda())
        torch.testing.assert_close(y.cpu(), expected, rtol=1e-2, atol=1e-2)
