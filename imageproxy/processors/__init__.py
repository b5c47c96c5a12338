"""Image engines: what turns a blob into the image that a preset describes."""

from .pillow import PillowProcessor

__all__ = ["PillowProcessor"]
