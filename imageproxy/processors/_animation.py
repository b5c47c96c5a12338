"""Animations: the canvas on which a film's frames are drawn, and the file that the results are written to."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from PIL import Image

from ._film import Disposal, Film
from ._headers.header import broken
from ._sixteen_bits import from_16_bits, with_transparent_colour

__all__ = ["encode_frames", "pictures"]

_CLEAR = (0, 0, 0, 0)


def pictures(film: Film) -> Iterator[Image.Image]:
    """What each frame makes the animation look like: RGBA, of the film's size. To be used before the next one is asked.

    The canvas begins transparent, as browsers have it, whatever background the file names.
    """
    canvas = Image.new("RGBA", film.size)
    for frame in film.frames:
        part = _decoded(b"".join(frame.parts), film)
        if part.size != frame.size:
            raise broken("a frame has another size than it declares")
        before = canvas.crop(frame.box) if frame.disposal is Disposal.RESTORE else None
        if frame.is_blended:
            canvas.alpha_composite(part, frame.offset)
        else:
            canvas.paste(part, frame.box)
        yield canvas
        if before is not None:
            canvas.paste(before, frame.box)
        elif frame.disposal is Disposal.CLEAR:
            canvas.paste(_CLEAR, frame.box)


def _decoded(source: bytes, film: Film) -> Image.Image:
    if film.transparent is not None:
        return with_transparent_colour(source, film.transparent)
    # Closed by hand: some of Pillow's images hold on to their file.
    with io.BytesIO(source) as file, Image.open(file, formats=[film.format]) as opened:
        opened.load()
        grey = opened.mode.startswith("I;16")
        return (from_16_bits(opened) if grey else opened).convert("RGBA")


def encode_frames(
    frames: Iterable[Image.Image], durations_ms: Sequence[int], plays: int, options: dict[str, Any]
) -> bytes:
    """An animated WebP of ``frames``, of which one at a time is held.

    plays: how often it is shown; 0 is for ever.
    """
    buffer = io.BytesIO()
    # Without key frames, which are for jumping: half the time, and half the bytes where much stands still.
    with _Reel(frames, len(durations_ms)) as reel:
        reel.save(buffer, "WEBP", save_all=True, duration=list(durations_ms), loop=plays, kmin=0, kmax=0, **options)
    return buffer.getvalue()


class _Reel(Image.Image):
    """An image of several frames, as Pillow's plugins give them, that takes each from an iterator when it is sought."""

    def __init__(self, frames: Iterable[Image.Image], count: int) -> None:
        super().__init__()
        self.n_frames = count
        self._frames = iter(frames)
        self._at = -1
        self.seek(0)

    def seek(self, frame: int) -> None:
        """To the next frame. After the last, Pillow asks for the first again, and does not use it."""
        if frame > self._at:
            picture = next(self._frames)
            self.im, self._mode, self._size = picture.im, picture.mode, picture.size
            self._at = frame

    def tell(self) -> int:
        """The first, as before it is saved."""
        return 0
