"""Upstream YOLOv5's scan of a folder of images, in the peers' environment: `label_scan_upstream.py IMAGES`.

It writes a cache beside the labels, and reads it when it is there. The answer is one JSON object on the last line.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from yolov5.utils.dataloaders import LoadImagesAndLabels


def processor_seconds() -> float:
    """Of this process and the processes that it started and waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_mib() -> float:
    """The most memory that this process, without others, has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Scan, and print what it cost."""
    imports = peak_mib()
    wall, cpu = time.perf_counter(), processor_seconds()
    dataset = LoadImagesAndLabels(sys.argv[1])
    wall, cpu = time.perf_counter() - wall, processor_seconds() - cpu
    answer = {"wall": wall, "cpu": cpu, "peak": peak_mib(), "imports": imports, "images": len(dataset)}
    print()
    print(json.dumps({**answer, "boxes": sum(map(len, dataset.labels))}))


if __name__ == "__main__":
    main()
