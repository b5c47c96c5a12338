"""At most so many at once: of requests to one host, of lookups."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from ._deadline import Deadline

__all__ = ["Slots"]


@dataclass(slots=True)
class _Line:
    taken: int = 0
    waiting: deque[threading.Event] = field(default_factory=deque)


class Slots:
    """Gives ``each`` slots at once for every key, first come, first served. Safe to call from threads.

    A key that nobody uses takes no memory. After a fork, make a new one.
    """

    def __init__(self, each: int) -> None:
        self.each = each
        self._lock = threading.Lock()
        self._lines: dict[Hashable, _Line] = {}

    def __len__(self) -> int:
        """How many keys are in use."""
        return len(self._lines)

    def take(self, key: Hashable, deadline: Deadline) -> bool:
        """Wait for a slot, which the caller then gives back; ``False`` where the time was over before."""
        with self._lock:
            line = self._lines.setdefault(key, _Line())
            if line.taken < self.each:
                line.taken += 1
                return True
            turn = threading.Event()
            line.waiting.append(turn)
        is_taken = False
        try:
            deadline.wait(turn)
            is_taken = turn.is_set() and not deadline.is_over  # the end may have set it
        finally:
            if not is_taken:
                self._leave(key, turn)
        return is_taken

    def give_back(self, key: Hashable) -> None:
        """Give a slot back: it goes to the one that has waited longest."""
        with self._lock:
            self._hand_on(key)

    def _leave(self, key: Hashable, turn: threading.Event) -> None:
        with self._lock:
            try:
                self._lines[key].waiting.remove(turn)
            except ValueError:  # its turn had come meanwhile
                self._hand_on(key)

    def _hand_on(self, key: Hashable) -> None:
        line = self._lines[key]
        if line.waiting:
            line.waiting.popleft().set()
            return
        line.taken -= 1
        if line.taken == 0:
            del self._lines[key]
