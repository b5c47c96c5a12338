"""What a command adds itself to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["Commands"]

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = Any
