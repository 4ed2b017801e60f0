"""Evaluate weights on a data set: COCO AP, precision, recall, F1, confusion matrix, speed.

python val.py --weights runs/train/exp/weights/best.pt --data digits.yaml --imgsz 64 96 160 320
"""

from __future__ import annotations

from mgil.engine.command import val as main

if __name__ == "__main__":
    main()
