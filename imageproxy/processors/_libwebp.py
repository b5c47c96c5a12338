"""WebPs decoded by libwebp's own interface: the one that Pillow has loaded, without Pillow in between.

Pillow knows only libwebp's decoder of animations. That draws a picture on a canvas and copies it to another, and Pillow
copies it twice more. Here libwebp writes where the picture is to be, and leaves out the rows below a crop. It is looked
up through Pillow's own module, so it is as new as Pillow keeps it. Where that has it built in and tells nobody, as on
Windows, Pillow decodes.
"""

from __future__ import annotations

from ctypes import CDLL, Structure, Union, addressof, byref, c_char, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from importlib import import_module

from PIL import Image

from ._foreign import CAN_BE_COLOUR, image_over
from ._headers import Header, broken

__all__ = ["LibWebP", "libwebp"]

# The structures of webp/decode.h, the same since libwebp 0.5 (2015). It is told the version that they are of, and
# refuses one that it does not know.
_ABI_VERSION = 0x0209
_MODE_RGB, _MODE_RGBA = 0, 1
_STATUS = {1: "out of memory", 2: "invalid parameter", 3: "bitstream error", 4: "unsupported feature"}
_STATUS |= {5: "suspended", 6: "user abort", 7: "not enough data"}
_INT_PAD = c_uint32 * 5


class _Features(Structure):
    _fields_ = (
        *((name, c_int) for name in ("width", "height", "has_alpha", "has_animation", "format")),
        ("pad", _INT_PAD),
    )


class _RGBA(Structure):
    _fields_ = (("pixels", c_void_p), ("stride", c_int), ("size", c_size_t))


class _YUVA(Structure):  # not used, but it has the size that counts
    _fields_ = (("planes", c_void_p * 4), ("strides", c_int * 4), ("sizes", c_size_t * 4))


class _Planes(Union):
    _fields_ = (("rgba", _RGBA), ("yuva", _YUVA))


class _Output(Structure):
    _fields_ = (
        *((name, c_int) for name in ("mode", "width", "height", "is_external_memory")),
        ("planes", _Planes),
        ("pad", c_uint32 * 4),
        ("private_memory", c_void_p),
    )


class _Options(Structure):
    _fields_ = (
        *((name, c_int) for name in ("bypass_filtering", "no_fancy_upsampling")),
        *((name, c_int) for name in ("use_cropping", "crop_left", "crop_top", "crop_width", "crop_height")),
        *((name, c_int) for name in ("use_scaling", "scaled_width", "scaled_height")),
        *((name, c_int) for name in ("use_threads", "dithering_strength", "flip", "alpha_dithering_strength")),
        ("pad", _INT_PAD),
    )


class _Config(Structure):
    _fields_ = (("features", _Features), ("output", _Output), ("options", _Options))


class LibWebP:
    """The decoder. Safe to use from several threads at once; while it works, others run.

    Raises AttributeError where this Pillow has its libwebp built in, and ValueError for a libwebp that is not known.
    """

    def __init__(self) -> None:
        # The system looks names up in what a module was loaded with, too.
        module = CDLL(import_module("PIL._webp").__file__)
        self._init_config = module.WebPInitDecoderConfigInternal
        self._init_config.argtypes = (c_void_p, c_int)
        self._get_features = module.WebPGetFeaturesInternal
        self._get_features.argtypes = (c_char_p, c_size_t, c_void_p, c_int)
        self._decode = module.WebPDecode
        self._decode.argtypes = (c_char_p, c_size_t, c_void_p)
        self._config()

    def takes(self, header: Header) -> bool:
        """Whether it is a picture for this decoder: no animation, and nothing that Pillow would warn of or refuse."""
        limit = Image.MAX_IMAGE_PIXELS
        return not header.is_animated and (limit is None or header.width * header.height <= limit)

    def decoded(self, header: Header, rows: int) -> Image.Image:
        """The first ``rows`` of a picture. The colours of the last one may be off, where there are more in the file.

        Raises ProcessingError for a broken file.
        """
        config, source = self._config(), header.source
        _check(self._get_features(source, len(source), byref(config.features), _ABI_VERSION))
        size = header.width, rows
        is_opaque = not config.features.has_alpha
        channels = 3 if is_opaque and not CAN_BE_COLOUR else 4
        pixels = bytearray(channels * size[0] * size[1])
        output, options = config.output, config.options
        output.mode = _MODE_RGB if channels == 3 else _MODE_RGBA
        output.is_external_memory = 1
        output.planes.rgba = _RGBA(addressof(c_char.from_buffer(pixels)), channels * size[0], len(pixels))
        options.use_cropping, options.crop_width, options.crop_height = 1, *size
        _check(self._decode(source, len(source), byref(config)))
        if channels == 3:
            return Image.frombytes("RGB", size, pixels)
        return image_over(pixels, size, "RGB" if is_opaque else "RGBA")

    def _config(self) -> _Config:
        config = _Config()
        if not self._init_config(byref(config), _ABI_VERSION):
            raise ValueError("libwebp is of a version that is not known here")
        return config


def _check(status: int) -> None:
    if status:
        raise broken(f"libwebp says {_STATUS.get(status, status)}")


def libwebp() -> LibWebP | None:
    """The decoder; ``None`` where only Pillow has it."""
    try:
        return LibWebP()
    except (ImportError, AttributeError, OSError, ValueError):
        return None
