"""Top-down pose: where the joints of a person are, in a crop around the person."""
