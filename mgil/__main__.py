"""`python -m mgil`: the commands of `mgil`, also in a clone that is not installed."""

from __future__ import annotations

from mgil.engine.command import main

if __name__ == "__main__":
    main()
