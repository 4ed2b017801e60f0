"""Where pictures come from: files, videos, streams, the screen."""
