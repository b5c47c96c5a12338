"""Fuzz one part of the library, or all of it in turn.

    python tests/fuzz/run.py --seconds 3600 --target processor --workers 2 --seed 7
    python tests/fuzz/run.py --target processor --replay FILE ...

Prints a line every few seconds, saves each finding with what makes it again, and ends with 1 where there was one.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's folder is where its imports come from; one folder up, this one is a package.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    runpy.run_module("fuzz", run_name="__main__", alter_sys=True)
