"""Images written as files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mgil.files.atomic import write_bytes_atomic


def save_image(path: str | Path, image: np.ndarray) -> Path:
    """Write an (H, W, 3) uint8 RGB image in the format of the file's suffix.

    Raises:
        ValueError: a suffix that names no format that can be written.
        OSError: the file cannot be written.
    """
    path = Path(path)
    # full colour resolution: the default halves it, which smears what is a few pixels wide
    options = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    try:
        is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        done, data = cv2.imencode(path.suffix, image[..., ::-1], options if is_jpeg else [])
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"{path}: pictures cannot be written as '{path.suffix}'; use .png or .jpg")
    write_bytes_atomic(path, data.tobytes(), durable=False)
    return path
