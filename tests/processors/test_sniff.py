from __future__ import annotations

import pytest

from imageproxy.processors._sniff import sniff


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0", "jpeg"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "png"),
        (b"GIF89a", "gif"),
        (b"GIF87a", "gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\x10\0\0\0AVI ", "avi"),
        (b"RIFF\x10\0\0\0CDDA", "unknown"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "avif"),
        (b"\0\0\0\x20ftypavis\0\0\0\0", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\2\0", "mov"),
        (b"\xff\x0a\xfa\x7f", "jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
        (b"BM\x36\0", "bmp"),
        (b"II*\0\x08\0\0\0", "tiff"),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"\0\0\1\0\1\0", "ico"),
        (b"%PDF-1.7", "pdf"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "svg"),
        (b"\xef\xbb\xbf \n<?xml version='1.0'?><!-- a -->\n<SVG >", "svg"),
        (b"<!DOCTYPE html><html><body><svg ></svg>", "html"),
        (b"<html lang='en'>", "html"),
        (b"<?xml version='1.0'?><rss/>", "xml"),
        (b'{"error":"InvalidRequest"}', "json"),
        (b" [1]", "json"),
        (b"404 page not found", "text"),
        ("grüße".encode(), "text"),
        (b"\0\1\2\3", "unknown"),
        (b"   ", "unknown"),
    ],
)
def test_bytes_are_named_by_how_they_begin(data: bytes, name: str) -> None:
    assert sniff(data) == name
