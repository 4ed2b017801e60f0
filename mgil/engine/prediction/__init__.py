"""A trained network at work on pictures, videos and streams."""
