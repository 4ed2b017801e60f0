"""Detection: YOLOv5's losses, suppression, COCO accuracy, pictures."""
