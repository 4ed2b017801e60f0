"""YOLOv5's Python interface, as `torch.hub.load` gives it, over this project's models and results."""
