"""A data set as a smaller camera would have taken it: every picture of train and val, no longer than so many pixels.

    python -m benchmarks.shrink FOLDER/helmet320.yaml --side 160 --output FOLDER/helmet160

With it `--img 320` is a network at twice the input size on enlarged pictures, which is what a user of small pictures
tries first. Boxes are fractions of a picture, so label files are copied as they are; a set with a COCO json is refused.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import cv2
import yaml

from mgil.datasets.reading.categories import is_json
from mgil.datasets.reading.config import load_data_config
from mgil.datasets.reading.image_list import list_images
from mgil.datasets.reading.labels import label_path_of
from mgil.engine.cli import run_cli

SPLITS = ("train", "val")


def shrink(data_yaml: Path, side: int, output: Path) -> Path:
    """Write the smaller set; its YAML.

    Args:
        data_yaml: the set.
        side: longer side in pixels of every picture of the new set; smaller pictures stay as they are.
        output: a folder that does not exist yet.

    Raises:
        FileExistsError: it does.
        ValueError: labels in a COCO .json, or a picture that cannot be read.
    """
    if side < 1:
        raise ValueError(f"--side {side}: must be 1 or more pixels")
    data = load_data_config(data_yaml)
    for entry in (entry for split in SPLITS for entry in data.split(split) if is_json(entry)):
        raise ValueError(f"{entry}: a COCO json, whose boxes are in pixels; give a set with label files")
    output.mkdir(parents=True)
    for split in SPLITS:
        for path in map(Path, list_images(data.split(split), data.bases)[0]):
            label = Path(label_path_of(str(path)))
            picture = output / "images" / split / f"{path.stem}.png"
            for folder in (picture.parent, output / "labels" / split):
                folder.mkdir(parents=True, exist_ok=True)
            if picture.exists():
                raise ValueError(f"{path}: another picture of {split} has the same name")
            pixels = cv2.imread(str(path))
            if pixels is None:
                raise ValueError(f"{path}: cannot be read")
            height, width = pixels.shape[:2]
            scale = min(side / max(height, width), 1)
            size_wh = (max(round(width * scale), 1), max(round(height * scale), 1))
            cv2.imwrite(str(picture), cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA))
            if label.exists():
                shutil.copy(label, output / "labels" / split / f"{path.stem}.txt")
    content = {split: f"images/{split}" for split in SPLITS} | {"names": dict(enumerate(data.names))}
    if data.hyp:
        content["hyp"] = dict(data.hyp)
    path = output / f"{output.name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the data set's YAML")
    parser.add_argument("--side", type=int, required=True, help="longer side of the new pictures in pixels")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new set")
    options = parser.parse_args()
    print(shrink(options.data, options.side, options.output))


if __name__ == "__main__":
    run_cli(main)
