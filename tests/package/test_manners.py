"""A library's manners: what importing it does, what it shows, what it ships."""

import importlib.metadata
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

import imageproxy

EXTRAS = {
    *("cykooz_resizer", "isal", "kornia_rs", "simplejpeg", "numpy", "redis", "obstore"),
    *("flask", "django", "starlette", "fastapi", "pytest"),
}
ROOT = Path(__file__).parents[2]

IMPORTING = """
import json, logging, os, socket, sys, threading, warnings, locale, signal, gc, mimetypes
import PIL.Image, PIL.ImageFile, requests

def state():
    return {
        "threads": [thread.name for thread in threading.enumerate()],
        "files": sorted((folder, *names) for folder, _, names in os.walk(os.environ["HOME"])),
        "environ": dict(os.environ),
        "max_pixels": PIL.Image.MAX_IMAGE_PIXELS,
        "truncated": PIL.ImageFile.LOAD_TRUNCATED_IMAGES,
        "decoders": sorted(PIL.Image.OPEN),
        "root_handlers": [repr(handler) for handler in logging.getLogger().handlers],
        "root_level": logging.getLogger().level,
        "own_handlers": [repr(handler) for handler in logging.getLogger("imageproxy").handlers],
        "timeout": socket.getdefaulttimeout(),
        "warnings": len(warnings.filters),
        "signals": [repr(signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)],
        "descriptors": len(os.listdir("/dev/fd")),
        "switch": sys.getswitchinterval(),
        "recursion": sys.getrecursionlimit(),
        "hook": repr(sys.excepthook),
    }

before = state()
import {module}
after = state()
print(json.dumps([before, after, sorted(sys.modules)]))
"""


def run_python(script: str, home: Path) -> str:
    environ = {"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error"}
    done = subprocess.run(  # not from the folder of the sources: they must not shadow what is installed
        [sys.executable, "-c", script], cwd=home, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("module", ["imageproxy", "imageproxy.testing", "imageproxy.cli"])
def test_importing_starts_nothing_makes_nothing_and_changes_no_global(module: str, tmp_path: Path) -> None:
    before, after, _ = json.loads(run_python(IMPORTING.replace("{module}", module), tmp_path))
    assert after == before


def test_importing_loads_no_extra(tmp_path: Path) -> None:
    *_, modules = json.loads(run_python(IMPORTING.replace("{module}", "imageproxy"), tmp_path))
    loaded = {name.split(".")[0] for name in modules}
    assert "imageproxy" in loaded
    assert not loaded & EXTRAS


def test_the_image_engine_is_loaded_when_it_is_asked_for(tmp_path: Path) -> None:
    script = (
        "import sys, imageproxy; print('imageproxy.processors' in sys.modules, imageproxy.PillowProcessor.__name__)"
    )

    assert run_python(script, tmp_path).split() == ["False", "PillowProcessor"]
    assert "PillowProcessor" in dir(imageproxy)


def test_what_there_is_not_is_an_attribute_error_as_ever() -> None:
    with pytest.raises(AttributeError, match="module 'imageproxy' has no attribute 'Nothing'"):
        _ = imageproxy.Nothing


def test_making_a_service_touches_neither_disk_nor_network(tmp_path: Path) -> None:
    script = (
        "from imageproxy import create_service, Config\n"
        "import os\n"
        "images = create_service(Config(cleanup_interval_seconds=None))\n"
        "import threading; print(threading.active_count(), os.listdir(os.environ['HOME']))\n"
        "images.close()\n"
    )
    assert run_python(script, tmp_path) == "1 []\n"


def test_all_is_the_truth() -> None:
    shown = {name for name in vars(imageproxy) if not name.startswith("_")}
    modules = {name for name in shown if type(getattr(imageproxy, name)).__name__ == "module"}
    hidden = modules | {"annotations", "TYPE_CHECKING"}
    assert set(imageproxy.__all__) == (shown - hidden) | {"__version__", "PillowProcessor"}
    assert len(imageproxy.__all__) == len(set(imageproxy.__all__))


def test_what_is_public_is_documented() -> None:
    for name in imageproxy.__all__:
        value = getattr(imageproxy, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__, name
            if isinstance(value, type):
                for method, function in vars(value).items():
                    if callable(function) and not method.startswith("_"):
                        assert function.__doc__, f"{name}.{method}"


def test_the_tests_run_on_the_installed_wheel() -> None:
    folder = Path(imageproxy.__file__).parent
    assert not folder.is_relative_to(ROOT / "imageproxy"), "run `make test`: the tests are for what users install"
    assert (folder / "py.typed").exists()
    assert imageproxy.__version__ == importlib.metadata.version("atproto-imageproxy")


def test_required_dependencies_are_four() -> None:
    requires = importlib.metadata.requires("atproto-imageproxy") or []
    required = {line.split(">")[0].split("[")[0] for line in requires if "extra ==" not in line}
    assert required == {"pillow", "requests", "platformdirs", "typing-extensions"}


def test_the_wheel_ships_the_package_alone() -> None:
    files = importlib.metadata.files("atproto-imageproxy") or []
    tops = {file.parts[0] for file in files if ".." not in file.parts}
    assert tops == {"imageproxy", f"atproto_imageproxy-{imageproxy.__version__}.dist-info"}
    assert any(file.name == "LICENSE" for file in files)


def test_the_top_level_is_the_one_that_the_design_names() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert {name.split("/")[0] for name in tracked} <= {
        "pyproject.toml", "imageproxy", "tests", "docs", "examples", "CHANGELOG.md", "README.md", "LICENSE", "Makefile",
        "benchmarks", ".ci", ".gitignore", "SECURITY.md",
    }  # fmt: skip
