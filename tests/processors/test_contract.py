"""PillowProcessor does what every Processor must, with each resizer."""

from __future__ import annotations

from imageproxy.processors import PillowProcessor
from imageproxy.testing.contracts import ProcessorContract


class TestPillowResizer(ProcessorContract):
    def make_processor(self) -> PillowProcessor:
        return PillowProcessor(resizer="pillow")


class TestSIMDResizer(ProcessorContract):
    def make_processor(self) -> PillowProcessor:
        return PillowProcessor(resizer="simd")
