"""CoreML, TFLite and ncnn: the formats of phones and small boards, by their makers' own converters."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from mgil.engine.export.check import Run
from mgil.engine.export.job import ExportJob
from mgil.engine.export.network import deployed
from mgil.engine.export.torchscript import save_quietly, traced
from mgil.files.packages import MissingPackage, import_package


def write_coreml(job: ExportJob, path: Path) -> None:
    """Write an .mlpackage: input `images`, output `output0`, as in the ONNX file."""
    coremltools = import_package("coremltools")
    precision = coremltools.precision.FLOAT16 if job.half else coremltools.precision.FLOAT32
    model = coremltools.convert(
        traced(_float(job), "coreml"),
        inputs=[coremltools.TensorType(name="images", shape=tuple(job.example().shape))],
        outputs=[coremltools.TensorType(name="output0")],
        convert_to="mlprogram",
        compute_precision=precision,
        compute_units=coremltools.ComputeUnit.ALL,
    )
    metadata = job.metadata()
    model.short_description = metadata["description"]
    model.version = metadata["version"]
    model.user_defined_metadata.update(metadata)
    model.save(str(path))


def write_tflite(job: ExportJob, path: Path) -> None:
    """Write a .tflite file in float32, input (B, 3, H, W) as in the ONNX file, with the metadata in it.

    They are where TensorFlow Lite's own tools and YOLOv5 put them: the file is a zip archive at its end, with one text
    file that holds a Python literal. Runtimes do not read that far.
    """
    converter = import_package("litert_torch", "litert-torch")
    network = deployed(job.task, job.model, "tflite", job.size_hw)
    converter.convert(network.eval(), (job.example(),)).export(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.txt", repr(job.metadata_values()))


def write_ncnn(job: ExportJob, folder: Path) -> None:
    """Write a folder with model.ncnn.param, model.ncnn.bin and metadata.yaml."""
    import_package("ncnn")
    import_package("pnnx")
    program = shutil.which("pnnx", path=sysconfig.get_path("scripts")) or shutil.which("pnnx")
    if program is None:
        raise MissingPackage("pnnx is installed without its program: pip install --force-reinstall pnnx")
    folder.mkdir()
    shape = "[" + ",".join(map(str, job.example().shape)) + "]"
    with tempfile.TemporaryDirectory() as place:
        save_quietly(traced(_float(job), "ncnn"), Path(place, "model.pt"), {})
        command = [program, "model.pt", f"inputshape={shape}", f"fp16={int(job.half)}"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        made = [Path(place, name) for name in ("model.ncnn.param", "model.ncnn.bin")]
        if done.returncode or not all(file.is_file() for file in made):
            said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
            raise ValueError(f"pnnx failed: {said[-1]}")
        for file in made:
            shutil.copy(file, folder / file.name)
    text = yaml.safe_dump(job.metadata(), sort_keys=False, allow_unicode=True)
    (folder / "metadata.yaml").write_text(text, encoding="utf-8")


def open_tflite(path: Path) -> Run:
    """Run a .tflite file."""
    interpreter = import_package("ai_edge_litert.interpreter", "ai-edge-litert").Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def run(images: Tensor) -> Tensor:
        interpreter.set_tensor(place, images.numpy())
        interpreter.invoke()
        return torch.from_numpy(interpreter.get_tensor(result).copy())

    return run


def open_ncnn(path: Path) -> Run:
    """Run an ncnn folder, image by image."""
    ncnn = import_package("ncnn")
    network = ncnn.Net()
    network.opt.use_fp16_arithmetic = network.opt.use_fp16_storage = network.opt.use_fp16_packed = False
    if network.load_param(str(path / "model.ncnn.param")) or network.load_model(str(path / "model.ncnn.bin")):
        raise ValueError("ncnn cannot open it; the lines above say which layer it does not know")

    def run(images: Tensor) -> Tensor:
        rows = []
        for image in images:
            extractor = network.create_extractor()
            failed = extractor.input("in0", ncnn.Mat(image.numpy()).clone())
            status, found = extractor.extract("out0")
            if failed or status:
                raise ValueError("ncnn cannot run it")
            rows.append(np.array(found))
        return torch.from_numpy(np.stack(rows))

    return run


def _float(job: ExportJob) -> ExportJob:
    """The job in float32, for converters that turn to float16 themselves."""
    return replace(job, half=False, device=torch.device("cpu"))
