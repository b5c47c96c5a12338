"""Erase a blob, or an account, from the cache of an nginx that is set up as in ``imageproxy.conf``.

    python purge.py /var/cache/nginx/imageproxy did:plc:... [bafkrei...]

Run it as a user that may write to the folder. nginx notices by itself that a file is gone. It looks into each file of
the cache, at its first kilobytes, where nginx has written the key: some minutes for millions.
"""

import argparse
import sys
from pathlib import Path

from imageproxy import canonical_cid, canonical_did
from imageproxy.urls import ImagePath

HEAD_BYTES = 8192


def purge(root: Path, did: str, cid: str | None = None) -> int:
    """How many files were removed."""
    wanted = key_part(did, cid)
    removed = 0
    for path in root.rglob("*"):
        try:
            with path.open("rb") as file:
                key = file.read(HEAD_BYTES).partition(b"\nKEY: ")[2].partition(b"\n")[0]
        except OSError:
            continue  # a folder, or nginx was faster
        if wanted in key:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def key_part(did: str, cid: str | None) -> bytes:
    """What the keys of a blob have in common. A CID ends where the format, the query or the key's next part begins."""
    path = str(ImagePath("", canonical_did(did), canonical_cid(cid) if cid else "")).removeprefix("/")
    return path.encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Erase a blob, or an account, from an nginx cache.")
    parser.add_argument("root", type=Path, help="the folder of proxy_cache_path")
    parser.add_argument("did")
    parser.add_argument("cid", nargs="?")
    arguments = parser.parse_args()
    if not arguments.root.is_dir():
        sys.exit(f"there is no folder {arguments.root}")
    print(f"Removed {purge(arguments.root, arguments.did, arguments.cid)}.")


if __name__ == "__main__":
    main()
