"""What Python 3.10 does not have yet. From 3.11 on nothing is loaded for it."""

import sys

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

__all__ = ["Self"]
