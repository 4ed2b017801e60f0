"""Networks as data: YAML files, the parser and its registry, layers, heads."""
