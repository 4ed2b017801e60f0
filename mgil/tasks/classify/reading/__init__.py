"""Reading pictures that have a class each: class folders, csv lists, TinyImageNet's and CIFAR's own files."""
