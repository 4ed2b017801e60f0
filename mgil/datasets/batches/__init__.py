"""From images to batches: decoding, stores, augmentation, loaders."""
