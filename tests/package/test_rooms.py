"""The rooms of docs/architecture.md: imports run downward, and nothing runs in circles."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import imageproxy

ROOT = Path(imageproxy.__file__).parent

PIPELINE = {
    *("_admission", "_breaker", "_failures", "_fences", "_flight", "_flights", "_gate", "_memory", "_miss"),
    *("_origin", "_seldom", "_telling", "_warm", "_write_behind"),
}
NETWORK = {"_addresses", "_client", "_deadline", "_guard", "_retry", "_slots", "_xrpc"}

# From the bottom up. A module may import what stands in a lower room, and its neighbours in its own.
ROOMS: list[set[str]] = [
    {"_typing"},
    {"errors"},
    {"identifiers"},
    {"presets", "config"},
    {"protocols", "events", "results", "urls"},
    {"_fork"},
    PIPELINE | NETWORK,
    {"caches", "fetchers", "resolver", "processors", "policies", "records"},
    {"service"},
    {"aio"},
    {"factory", "observers"},
    {"web"},
    {"testing"},
    {"_terminal"},
    {"demo", "_server"},
    {"cli"},
    {"web.django", "__main__"},
]
ROOM_OF = {name: number for number, room in enumerate(ROOMS) for name in room}
BACKENDS = {"caches", "fetchers", "resolver", "processors"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """The modules of this package that a module imports, at its top or inside a function."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = ["imageproxy", *(part for part in package.split(".") if part)]
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        found |= {name.removeprefix("imageproxy").lstrip(".") for name in names if name.split(".")[0] == "imageproxy"}
    return {name for name in found if name in MODULES} - {module}


def room(module: str) -> int:
    while module not in ROOM_OF:
        assert module, "a module without a room"
        module = module.rpartition(".")[0]
    return ROOM_OF[module]


def test_every_module_has_a_room() -> None:
    assert {module.split(".")[0] for module in MODULES if module} == {name.split(".")[0] for name in ROOM_OF}


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_imports_run_downward(module: str) -> None:
    for imported in imports_of(module):
        if imported:
            assert room(imported) <= room(module), f"{module} imports {imported}"
        else:
            assert module.split(".", maxsplit=1)[0] in {"cli", "demo"}, f"{module} imports the package itself"


def test_the_service_knows_no_concrete_backend() -> None:
    for module in PIPELINE | {"service"}:
        assert not {name.split(".")[0] for name in imports_of(module)} & (BACKENDS | NETWORK), module


def test_what_is_above_the_service_knows_it_and_no_concrete_backend() -> None:
    for module in MODULES:
        # What stands above the command line may look after a cache folder, as that does.
        if module.split(".")[0] in {"aio", "web"} and room(module) < ROOM_OF["cli"]:
            assert not {name.split(".")[0] for name in imports_of(module)} & (BACKENDS | NETWORK), module


def test_the_backends_do_not_know_each_other() -> None:
    for module in MODULES:
        own = module.split(".")[0]
        if own in BACKENDS:
            others = {name.split(".")[0] for name in imports_of(module)} & BACKENDS
            assert others <= {own}, module


def test_nothing_imports_in_circles() -> None:
    graph = {module: imports_of(module) - {""} for module in MODULES}
    for module, imported in graph.items():
        graph[module] = {name for name in imported if not module.startswith(f"{name}.")}  # a package is loaded first
    assert list(TopologicalSorter(graph).static_order())
