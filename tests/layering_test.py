"""The floors of the house hold: read from the syntax tree, so that a broken floor fails before anything is imported."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "verifier"

# Lower numbers stand on higher floors. A room is a folder, or a module that lies in verifier/ itself.
FLOORS = {
    **dict.fromkeys(("launch", "rerank", "compare", "export", "api", "plan"), 0),
    "pipeline": 1,
    "training": 2,
    "solutions": 2,
    "sweep": 2,
    "saved": 3,
    "device_checks": 3,
    "run": 3,
    "workdir": 4,
    **dict.fromkeys(("train", "decode", "evaluate", "inputs"), 5),
    **dict.fromkeys(("data", "model"), 6),
    "text": 7,
    "hosts": 8,
    "log": 9,
    **dict.fromkeys(("checksums", "wandb_mirror"), 10),
    "atomic": 11,
    "allocator": 11,
    **dict.fromkeys(("places", "config_checks", "experiment", "foreign_files"), 12),
    **dict.fromkeys(("config", "stopping"), 13),
    "assignments": 14,
    "knob_types": 15,
}
# What must run on a laptop without JAX, whatever else is installed.
WITHOUT_JAX = [
    *("rerank.py", "compare.py", "workdir.py", "inputs.py", "run.py", "config.py", "config_checks.py", "log.py"),
    *("assignments.py", "knob_types.py", "stopping.py"),
    *("checksums.py", "wandb_mirror.py", "atomic.py", "allocator.py", "places.py", "experiment.py", "foreign_files.py"),
]
FOLDERS_WITHOUT_JAX = ("text", "data", "evaluate")
JAX_ALLOWED = {"evaluate/score.py"}
MAX_LINES = 350
MAX_FUNCTION = 60


def sources() -> list[pathlib.Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: pathlib.Path) -> set[str]:
    """Every module that a file imports anywhere in it, with names imported from a package as modules of their own."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(module: str) -> str | None:
    """`verifier.data.store` -> data; None for modules of others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "verifier" and len(parts) > 1 else None


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_lower_floors_or_its_own_room(path):
    relative = path.relative_to(PACKAGE)
    here = relative.parts[0].removesuffix(".py")
    if here == "__init__":
        return
    assert here in FLOORS, f"{here} has no floor: give it one in FLOORS and in WORKSPACE.md"
    for module in imports(path):
        there = room_of(module)
        if there is None or there == here:
            continue
        assert FLOORS[there] > FLOORS[here], f"{relative} imports {module}, which stands on no lower floor"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_that_run_on_a_laptop_do_not_import_jax(path):
    relative = str(path.relative_to(PACKAGE))
    if relative in JAX_ALLOWED or not (relative in WITHOUT_JAX or relative.split("/")[0] in FOLDERS_WITHOUT_JAX):
        return
    heavy = {module for module in imports(path) if module.split(".")[0] in ("jax", "jaxlib", "flax", "optax", "orbax")}
    assert not heavy, f"{relative} imports {sorted(heavy)}"


def test_torch_and_tensorflow_are_imported_nowhere():
    for path in sources():
        heavy = {module for module in imports(path) if module.split(".")[0] in ("torch", "tensorflow", "transformers")}
        assert not heavy, f"{path.relative_to(ROOT)} imports {sorted(heavy)}"


def test_files_and_functions_keep_their_size():
    for path in [*sources(), *sorted((ROOT / "experiments").glob("*.py"))]:
        text = path.read_text()
        assert len(text.splitlines()) <= MAX_LINES, f"{path.relative_to(ROOT)} has {len(text.splitlines())} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= MAX_FUNCTION, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"


def test_no_import_cycles():
    graph: dict[str, set[str]] = {}
    for path in sources():
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        graph[name] = {module for module in imports(path) if module.startswith("verifier")}
    known = set(graph)
    edges = {
        name: {target if target in known else target.rpartition(".")[0] for target in targets} & known - {name, "verifier"}
        for name, targets in graph.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"import cycle: {' -> '.join((*trail, name))}"
        if name not in done:
            for target in edges[name]:
                visit(target, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_every_module_says_first_what_it_is():
    for path in sources():
        if path.name != "__init__.py" or path.read_text().strip():
            assert ast.get_docstring(ast.parse(path.read_text())), f"{path.relative_to(ROOT)} has no docstring"
