"""``python -m imageproxy``: the command line."""

import sys

from imageproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
