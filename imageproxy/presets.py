"""Presets: what an image is turned into. Frozen values, and the registries that hold them by name."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from enum import Enum
from functools import cached_property
from typing import Literal, get_args

from .errors import ConfigError, InvalidPresetError

__all__ = [
    "BLUESKY",
    "DEFAULT",
    "FitMode",
    "ImageFormat",
    "Preset",
    "PresetRegistry",
    "get_preset",
    "list_presets",
]

ImageFormat = Literal["jpeg", "png", "webp", "avif"]
_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_COLOUR = re.compile(r"#[0-9a-f]{6}")
# Neither WebP (16,383 pixels a side) nor any screen needs more, and a preset is a promise of memory.
_MAX_SIDE = 16_000


class FitMode(str, Enum):
    """How an image meets the preset's box."""

    COVER = "cover"
    """Fill the box exactly, cropping what sticks out."""
    CONTAIN = "contain"
    """Fit inside the box, nothing cropped; the result may be smaller than the box in one direction."""


@dataclass(frozen=True)
class Preset:
    """What one kind of image looks like. A value: frozen, hashable, comparable, safe to share between threads.

    name: 1 to 64 of ``a-z 0-9 _ -``; part of URLs.
    width, height: the box, in pixels. ``height=0`` with ``FitMode.CONTAIN`` means: as high as the proportions make it.
    fit: see ``FitMode``.
    quality: 1 to 100, the encoder's own scale; PNG has none and ignores it.
    format: ``"jpeg"``, ``"png"``, ``"webp"`` or ``"avif"``.
    background: ``"#rrggbb"``, what shows through transparent parts where the format (JPEG) has no transparency.
    enlarge: whether a smaller image is scaled up. ``None``: as the fit needs it, which is yes for COVER (its size is
        exact) and no for CONTAIN.
    position: which part COVER keeps, as fractions of what is cropped off at the left and at the top: ``(0.5, 0.5)``
        is the middle, ``(0.0, 0.0)`` keeps the top left corner.
    animated: whether an animation stays one, as far as the processor allows; otherwise its first frame is shown. For
        ``"webp"`` alone.
    progressive: whether a JPEG comes into view as a whole while it loads; takes longer to make. Other formats
        ignore it.

    Raises InvalidPresetError, whose ``field`` names the value that is wrong.
    """

    name: str
    width: int
    height: int
    fit: FitMode
    quality: int
    format: ImageFormat = "jpeg"
    background: str = "#ffffff"
    enlarge: bool | None = None
    position: tuple[float, float] = (0.5, 0.5)
    animated: bool = False
    progressive: bool = False

    def __post_init__(self) -> None:
        self._check(
            "name", isinstance(self.name, str) and bool(_NAME.fullmatch(self.name)), "1 to 64 of a-z, 0-9, _ and -"
        )
        try:
            object.__setattr__(self, "fit", FitMode(self.fit))
        except ValueError:
            raise self._wrong("fit", "'cover' or 'contain'") from None
        self._check("width", _is_int(self.width, 1, _MAX_SIDE), f"a whole number from 1 to {_MAX_SIDE}")
        lowest = 0 if self.fit is FitMode.CONTAIN else 1
        self._check(
            "height",
            _is_int(self.height, lowest, _MAX_SIDE),
            f"a whole number from {lowest} to {_MAX_SIDE} (0, with 'contain' alone, keeps the proportions)",
        )
        self._check("quality", _is_int(self.quality, 1, 100), "a whole number from 1 to 100")
        self._check("format", self.format in _FORMATS, "one of " + ", ".join(map(repr, _FORMATS)))
        background = self.background.lower() if isinstance(self.background, str) else ""
        self._check("background", bool(_COLOUR.fullmatch(background)), "'#rrggbb'")
        object.__setattr__(self, "background", background)
        self._check("enlarge", self.enlarge is None or isinstance(self.enlarge, bool), "True, False or None")
        self._check(
            "enlarge",
            not (self.fit is FitMode.COVER and self.enlarge is False),
            "True or None with 'cover', whose size is exact",
        )
        x = y = -1.0
        with contextlib.suppress(TypeError, ValueError):
            x, y = (float(part) for part in self.position)
        self._check("position", 0 <= x <= 1 and 0 <= y <= 1, "two numbers from 0 to 1: (left, top)")
        object.__setattr__(self, "position", (x, y))
        self._check("animated", isinstance(self.animated, bool), "True or False")
        self._check("animated", not self.animated or self.format == "webp", "False unless the format is 'webp'")
        self._check("progressive", isinstance(self.progressive, bool), "True or False")

    def _check(self, field: str, is_right: bool, wanted: str) -> None:
        if not is_right:
            raise self._wrong(field, wanted)

    def _wrong(self, field: str, wanted: str) -> InvalidPresetError:
        name = self.name if isinstance(self.name, str) else None
        return InvalidPresetError(
            f"preset {name!r}: {field} is {getattr(self, field)!r}; it must be {wanted}", field=field, preset=name
        )

    @property
    def content_type(self) -> str:
        """The media type of the result, ``"image/jpeg"`` for one."""
        return f"image/{self.format}"

    @property
    def enlarges(self) -> bool:
        """Whether a smaller image is scaled up, ``enlarge=None`` resolved."""
        return self.fit is FitMode.COVER if self.enlarge is None else self.enlarge

    def with_format(self, format: str) -> Preset:  # noqa: A002 - the field's own name
        """The same preset in another ``ImageFormat``, without animation where that has none.

        Raises InvalidPresetError for what is no format.
        """
        is_animated = self.animated and format == "webp"
        return replace(self, format=format, animated=is_animated)  # type: ignore[arg-type]  # checked as every field is

    @cached_property
    def key(self) -> str:
        """The name and a fingerprint of all that the pixels depend on: ``"avatar-0f1e2d3c4b5a"``.

        The fingerprint covers each parameter without a default, and each other one that differs from its default; so
        a parameter that a later version adds changes no key, and an edited preset never meets its old images.
        """
        parts = [
            f"{field.name}={_plain(getattr(self, field.name))}"
            for field in fields(self)
            if field.name != "name" and getattr(self, field.name) != field.default
        ]
        return f"{self.name}-{hashlib.sha256(';'.join(parts).encode()).hexdigest()[:12]}"


def _is_int(value: object, lowest: int, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


def _plain(value: object) -> str:
    return value.value if isinstance(value, FitMode) else repr(value)


class PresetRegistry:
    """Presets by name. Immutable, and so safe to share between services and threads.

    An app's own set is made from presets, or from another set with some added or replaced::

        presets = DEFAULT.with_presets(Preset("square", 200, 200, FitMode.COVER, 80, format="webp"))
    """

    __slots__ = ("_by_name",)

    def __init__(self, presets: Iterable[Preset] = ()) -> None:
        """Raises InvalidPresetError for two presets of one name."""
        self._by_name: dict[str, Preset] = {}
        for preset in presets:
            if preset.name in self._by_name:
                raise InvalidPresetError(
                    f"two presets are called {preset.name!r}; to replace one, use with_presets()",
                    field="name",
                    preset=preset.name,
                )
            self._by_name[preset.name] = preset

    def with_presets(self, *presets: Preset) -> PresetRegistry:
        """A new registry: these presets, and those of this one whose names they do not take."""
        new = PresetRegistry(presets)
        return PresetRegistry({**self._by_name, **new._by_name}.values())

    def get(self, name: str) -> Preset:
        """The preset of this name. Raises InvalidPresetError, which lists the names there are."""
        try:
            return self._by_name[name]
        except (KeyError, TypeError):
            known = ", ".join(sorted(self._by_name)) or "none"
            raise InvalidPresetError(
                f"no preset {str(name)[:80]!r}; there are: {known}", preset=name if isinstance(name, str) else None
            ) from None

    def find(self, preset: str | Preset) -> Preset:
        """``preset`` itself where it is one, and otherwise the preset of this name. Raises InvalidPresetError."""
        return preset if isinstance(preset, Preset) else self.get(preset)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._by_name

    def __iter__(self) -> Iterator[Preset]:
        """The presets, in the order they were given."""
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"PresetRegistry({', '.join(self._by_name)})"


DEFAULT = PresetRegistry(
    (
        Preset("avatar", 1000, 1000, FitMode.COVER, 85),
        Preset("avatar_small", 360, 360, FitMode.COVER, 80),
        Preset("banner", 640, 300, FitMode.COVER, 85),
        Preset("content_preview", 800, 0, FitMode.CONTAIN, 80),
        Preset("content_full", 1600, 0, FitMode.CONTAIN, 90),
        Preset("embed_thumbnail", 720, 360, FitMode.COVER, 80),
    )
)
"""The presets of the Go original."""

BLUESKY = PresetRegistry(
    (
        Preset("avatar", 1000, 1000, FitMode.COVER, 100, format="webp"),
        Preset("banner", 3000, 1000, FitMode.COVER, 100, format="webp"),
        Preset("feed_thumbnail", 2000, 2000, FitMode.CONTAIN, 100, format="webp", enlarge=True),
        Preset("feed_fullsize", 1000, 1000, FitMode.CONTAIN, 100, format="webp", enlarge=True),
    )
)
"""The presets of the protocol's reference app server, which calls them soft documentation."""


def checked_registry(presets: PresetRegistry | None) -> PresetRegistry:
    """An option ``presets``, DEFAULT where it is ``None``. Raises ConfigError for what is no registry."""
    if presets is None:
        return DEFAULT
    if not isinstance(presets, PresetRegistry):
        raise ConfigError(
            f"presets is a {type(presets).__name__}; it must be a PresetRegistry, or None for DEFAULT",
            option="presets",
            value=presets,
        )
    return presets


def get_preset(name: str) -> Preset:
    """The preset of this name in DEFAULT. Raises InvalidPresetError."""
    return DEFAULT.get(name)


def list_presets() -> list[Preset]:
    """The presets of DEFAULT, by name."""
    return sorted(DEFAULT, key=lambda preset: preset.name)
