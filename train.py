"""Train a detector.

python train.py                                                                  # yolov5n-mgil on the embedded digits
python train.py --cfg yolov5n-mgil.yaml --data coco.yaml --img 640 --device 0    # COCO on a GPU
torchrun --nproc_per_node 4 train.py --data coco.yaml --batch-size 128 --device 0,1,2,3
"""

from __future__ import annotations

from mgil.engine.command import train as main

if __name__ == "__main__":
    main()
