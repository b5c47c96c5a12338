"""What bytes look like, by how they begin. A look at the first bytes only: nothing is decoded, nothing is believed."""

from __future__ import annotations

import re

__all__ = ["sniff"]

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
    (b"\x00\x00\x00\x0cjP  ", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
    (b"\x00\x00\x01\x00", "ico"),
    (b"\x00\x00\x02\x00", "ico"),
    (b"8BPS", "psd"),
    (b"qoif", "qoi"),
    (b"DDS ", "dds"),
    (b"%PDF-", "pdf"),
    (b"%!PS", "postscript"),
    (b"\x1aE\xdf\xa3", "webm"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpeg"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b"fLaC", "flac"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
)

# ISO base media: the major brand tells. mif1 and msf1 are containers of either; their compatible brands tell.
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "heic"),
    b"qt  ": "mov",
    b"crx ": "cr3",
}

_SVG = re.compile(rb"<svg[\s>]|<!doctype svg", re.IGNORECASE)
_HTML = re.compile(rb"<!doctype html|<html[\s>]|<head[\s>]|<body[\s>]", re.IGNORECASE)
_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")
_HEAD_BYTES = 1024


def sniff(data: bytes) -> str:
    """The name of the format that ``data`` begins like: ``"jpeg"``, ``"svg"``, ``"mp4"``, ...

    ``"empty"`` for no bytes at all, ``"unknown"`` for bytes that are like nothing known.
    """
    if not data:
        return "empty"
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF":
        return {b"WEBP": "webp", b"AVI ": "avi", b"WAVE": "wav"}.get(data[8:12], "unknown")
    if data[4:8] == b"ftyp":
        return _sniff_brand(data)
    return _sniff_text(data[:_HEAD_BYTES])


def _sniff_brand(data: bytes) -> str:
    major = data[8:12]
    if major in {b"mif1", b"msf1"}:
        end = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[at : at + 4] for at in range(16, end - 3, 4)}
        return "avif" if brands & {b"avif", b"avis"} else "heic"
    return _BRANDS.get(major, "mp4")


def _sniff_text(head: bytes) -> str:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text or not _TEXT.fullmatch(text):
        return "unknown"
    if text.startswith(b"<"):
        svg, html = _SVG.search(text), _HTML.search(text)
        if svg and not (html and html.start() < svg.start()):
            return "svg"
        return "html" if html else "xml"
    return "json" if text[:1] in {b"{", b"["} else "text"
