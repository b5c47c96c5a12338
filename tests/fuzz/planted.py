"""A target with every fault there is, to prove that the fuzzer finds them."""

from __future__ import annotations

import os
import random
import threading
import time
import warnings

from .mutation import mutate, pick
from .target import Corpus, FindingError

__all__ = ["PlantedTarget"]


class PlantedTarget:
    """An input that is the name of a fault has it. One more stands behind an outcome, and that behind another."""

    name = "planted"

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def seeds(self) -> list[bytes]:
        return [b"seed"]

    def mutant(self, rng: random.Random, corpus: Corpus) -> bytes:
        return mutate(rng, pick(rng, corpus), corpus)

    def run(self, data: bytes, *, in_all_ways: bool = False) -> str:
        if data == b"crash":
            os.abort()
        elif data == b"hang":
            time.sleep(60)
        elif data == b"exception":
            raise LookupError("planted")
        elif data == b"warning":
            warnings.warn("planted", UserWarning, stacklevel=1)
        elif data == b"memory":
            self._kept.append(b"kept" * 120_000_000)
        elif data == b"thread":
            thread = threading.Thread(target=int, args=("planted",))
            thread.start()
            thread.join()
        elif data[:1] == b"\x00":
            if data[1:2] == b"\x00":
                if data[2:3] == b"\x00":
                    raise FindingError("deep")
                return "deeper"
            return "not so deep"
        return "nothing"

    def settle(self) -> None:
        self._kept.clear()
