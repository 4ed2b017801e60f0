"""TorchScript files, with YOLOv5's `config.txt` inside."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import torch
from torch import nn

from mgil.engine.export.job import ExportJob
from mgil.engine.export.network import deployed


def write_torchscript(job: ExportJob, path: Path) -> None:
    """Trace the network and save it; metadata as JSON in the extra file `config.txt`."""
    save_quietly(traced(job), path, {"config.txt": json.dumps(job.metadata_values())})


def save_quietly(module: torch.jit.ScriptModule, path: Path, extra_files: dict[str, str]) -> None:
    """Save a module without torch's advice to use its newer formats."""
    content = io.BytesIO()  # given a path, PyTorch ends the whole process when the disk is full
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, content, _extra_files=extra_files)
    path.write_bytes(content.getbuffer())


def traced(job: ExportJob, runtime: str = "torchscript") -> torch.jit.ScriptModule:
    """The job's model as a TorchScript module on the job's device."""
    network: nn.Module = deployed(job.task, job.model, runtime, job.fixed_hw, job.half)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers its newer formats, and warns of sizes read in Python
        if job.inside is not None:
            network = job.inside.traceable(network)
        return torch.jit.trace(network.to(job.device), job.example().to(job.device), check_trace=False)
