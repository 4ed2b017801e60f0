"""Detector architectures as data: YAML files, the parser and its registry, layers, head, loss, anchors."""

from models.config import load_architecture, model_names
from models.detector import DetectionModel, build_model
from models.head import Detect
from models.registry import register_layer

__all__ = ["Detect", "DetectionModel", "build_model", "load_architecture", "model_names", "register_layer"]
