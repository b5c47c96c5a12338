"""Small, safe, cached images from the blobs of AT Protocol accounts."""

__version__ = "0.1.0"
