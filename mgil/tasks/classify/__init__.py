"""Image classification: pictures to classes, by timm's networks, YOLOv5's classifiers and their MGIL forms."""
