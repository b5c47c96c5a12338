"""``imageproxy purge``, which is also ``imageproxy cache purge``: both act on the folder, there is no other cache."""

from __future__ import annotations

import argparse
import sys

from imageproxy.cli.cache.folder import add_options, cache_for
from imageproxy.cli.command import Commands, add_command
from imageproxy.cli.output import counted, say, say_json
from imageproxy.config import Config
from imageproxy.identifiers import canonical_cid, canonical_did
from imageproxy.urls import ImageURLs

__all__ = ["add_to"]


def add_to(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "purge",
        summary="erase one blob, or all of an account, from the cache",
        description="Erases one blob in every preset, or all of an account, from the cache folder; 'imageproxy purge' "
        "and 'imageproxy cache purge' are the same. What services are fetching just now does not come back into the "
        "folder. It may be fetched afresh: what is to stay away, a policy must block.",
        examples=(
            "imageproxy purge did:plc:ewvi7nxzyoun6zhxrhs64oiz",
            "imageproxy purge did:plc:ewvi7nxzyoun6zhxrhs64oiz bafkrei... --urls | my-cdn-purge",
        ),
    )
    add_options(parser)
    parser.add_argument("did", metavar="DID", help="the account")
    parser.add_argument("cid", metavar="CID", nargs="?", help="the blob; without it, all of the account")
    parser.add_argument(
        "--urls",
        action="store_true",
        help="print every URL of the blob in the default presets, to purge at a CDN, by IMAGE_PROXY_BASE_URL or "
        "_CDN_URL; what was removed is then told on stderr. A CDN purges an account by the tag that is its DID",
    )
    parser.set_defaults(run=_run, usage_error=parser.error)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.urls and arguments.cid is None:
        arguments.usage_error("--urls needs a CID: the URLs of a whole account are not known here")
    config = Config.from_env()
    did = canonical_did(arguments.did)
    cid = None if arguments.cid is None else canonical_cid(arguments.cid)
    cache = cache_for(arguments.root, config)
    removed = cache.purge(did, cid)
    urls = [] if cid is None else _urls(config, did, cid)
    if arguments.json:
        told = {"root": str(cache.root), "did": did, "cid": cid, "removed_entries": removed}
        say_json({**told, "urls": urls} if arguments.urls else told)
        return
    summary = f"Removed {counted(removed, 'entry', 'entries')}."
    if arguments.urls:
        print(summary, file=sys.stderr)
        say("\n".join(urls))
    else:
        say(summary)


def _urls(config: Config, did: str, cid: str) -> list[str]:
    urls = ImageURLs(base_url=config.base_url, cdn_url=config.cdn_url, signing_key=config.url_signing_key)
    return urls.purge_urls(did, cid)
