"""Write weights in the formats of other runtimes.

python export.py --weights best.pt --include onnx openvino
"""

from __future__ import annotations

from mgil.engine.command import export as main

if __name__ == "__main__":
    main()
