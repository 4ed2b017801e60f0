"""Find objects in pictures, videos and streams.

python detect.py --weights best.pt --source folder/
python detect.py --weights best.onnx --source rtsp://camera/stream --view-img
"""

from __future__ import annotations

from mgil.engine.command import detect as main

if __name__ == "__main__":
    main()
