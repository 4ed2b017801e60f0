"""Data sets as they lie on the disk: YAML files, images, labels, caches, downloads."""
