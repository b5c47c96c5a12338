"""``manage.py imageproxy``: warm, purge, stats and cleanup, by the settings of the project."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from imageproxy.caches import DiskCache
from imageproxy.cli.cache.census import take_census
from imageproxy.cli.cache.report import as_text
from imageproxy.cli.output import counted
from imageproxy.cli.warm.items import read_items
from imageproxy.cli.warm.summary import Summary
from imageproxy.errors import ImageProxyError
from imageproxy.protocols import SupportsCleanup
from imageproxy.service import Service
from imageproxy.web.django.images import images

__all__ = ["Command"]


class Command(BaseCommand):  # type: ignore[misc]  # Django has no types
    """Looks after the images of the project."""

    help = "Looks after the project's images: warm, purge, stats, cleanup."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add a parser for each of the four."""
        commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
        warm = commands.add_parser("warm", help="make images ahead of the first request for them")
        warm.add_argument("file", metavar="FILE", help="a DID and a CID on each line; '-' for stdin")
        warm.add_argument("--preset", action="append", help="its name; may be repeated; by default, all")
        warm.set_defaults(run=self._warm)
        purge = commands.add_parser("purge", help="erase one blob, or all of an account, from every cache")
        purge.add_argument("did", metavar="DID", help="the account")
        purge.add_argument("cid", metavar="CID", nargs="?", help="the blob; without it, all of the account")
        purge.set_defaults(run=self._purge)
        stats = commands.add_parser("stats", help="tell what is in the cache")
        stats.set_defaults(run=self._stats)
        cleanup = commands.add_parser("cleanup", help="remove what is expired or over the limit")
        cleanup.set_defaults(run=self._cleanup)

    def handle(self, *_: Any, run: Any, **options: Any) -> None:
        """Carry out one of them. Raises CommandError."""
        here = images()
        try:
            run(here.endpoint.service, options)
        except (ImageProxyError, OSError) as error:
            raise CommandError(str(error)) from error
        finally:
            here.close()

    def _warm(self, service: Service, options: dict[str, Any]) -> None:
        if options["file"] == "-":
            items, bad_lines = read_items(sys.stdin.buffer)
        else:
            with Path(options["file"]).open("rb") as lines:
                items, bad_lines = read_items(lines)
        for bad in bad_lines:
            self.stderr.write(f"line {bad.number}: {bad.message}")
        report = service.warm(items, presets=options["preset"])
        summary = Summary.of(report, blobs=len(items))
        self.stdout.write(summary.as_text())
        if bad_lines or summary.failed:
            raise CommandError("not all images are made")

    def _purge(self, service: Service, options: dict[str, Any]) -> None:
        report = service.purge(options["did"], options["cid"])
        if report.failed:
            raise CommandError(f"these caches may still have it: {', '.join(report.failed)}; purge again")
        self.stdout.write(f"Removed {counted(report.entries, 'entry', 'entries')}.")

    def _stats(self, service: Service, _: dict[str, Any]) -> None:
        cache = service._cache
        if isinstance(cache, DiskCache):
            census = take_census(cache.entries(), time.time())
            self.stdout.write(as_text(str(cache.root), census, images().config.cache_max_bytes))
        else:
            told = "\n".join(f"{name:<12} {count:,}" for name, count in service.stats().cache.items())
            self.stdout.write(told or f"a {type(cache).__name__} does not tell what is in it")

    def _cleanup(self, service: Service, _: dict[str, Any]) -> None:
        cache = service._cache
        if not isinstance(cache, SupportsCleanup):
            raise CommandError(f"a {type(cache).__name__} looks after itself")
        self.stdout.write(f"Removed {counted(cache.cleanup(), 'entry', 'entries')}.")
