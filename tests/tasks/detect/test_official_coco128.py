"""The official yolov5n on coco128, next to what upstream finds.

The recorded figures are pycocotools' on the json that upstream (yolov5 7.0.14, numpy 1.26) writes with batch size 32,
conf 0.001, iou 0.6, its category ids taken as class indices. On 128 images upstream's own figures move by up to 0.006
with the order of images of equal shape, since that order decides which rectangle they are padded to.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mgil.datasets.batches.eval_loader import EvalLoader
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.load import load_samples
from mgil.engine.evaluation.evaluate import evaluate
from mgil.engine.weights.checkpoints import model_from_checkpoint
from mgil.tasks.detect.coco import coco_averages

UPSTREAM = {160: (0.1563, 0.2706), 320: (0.2897, 0.4532)}  # AP, AP50; at 640: 0.3641, 0.5632, ours 0.3674, 0.5633


@pytest.mark.parametrize("size", UPSTREAM)
def test_ap_is_upstreams(size: int, shared_data: Path, official_weights: Path, tmp_path: Path) -> None:
    config = load_data_config(shared_data / "coco128" / "coco128.yaml")
    samples = load_samples(config, "val", cache_dir=tmp_path, report=lambda _: None)
    result = evaluate(model_from_checkpoint(official_weights), EvalLoader(samples, size, 32), samples, config)
    official = coco_averages(samples, config.category_ids, result.detections, backend="official")
    assert result.map50_95 == pytest.approx(official.ap, abs=1e-9)
    assert official.ap == pytest.approx(UPSTREAM[size][0], abs=0.005)
    assert official.ap50 == pytest.approx(UPSTREAM[size][1], abs=0.01)
