"""The floors of the house hold: read from the syntax tree, so that a broken floor fails before
anything is imported.
"""

import ast
import pathlib
import re
from collections.abc import Collection

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "verifier"

# From the highest floor down. A room is a folder, or a module that lies in verifier/ itself.
_FLOORS = """
launch plan
recipes
stages export api
run rerank compare
report search tasks ingest
decode train tables
evaluate hf data grading
model
text
system
config
errors
"""
FLOORS = {room: floor for floor, rooms in enumerate(_FLOORS.split("\n")) for room in rooms.split()}
# What must run on a laptop without JAX, with all that it imports.
WITHOUT_JAX = (
    *("rerank", "compare", "config", "errors", "run.workdir", "run.experiment"),
    *("report", "ingest", "tables", "evaluate", "grading", "text", "tasks", "system"),
)
HEAVY = ("jax", "jaxlib", "flax", "optax", "orbax")
MAX_LINES = 350
MAX_FUNCTION = 60


def sources() -> list[pathlib.Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path: pathlib.Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def known(targets: set[str], modules: Collection[str]) -> set[str]:
    """Those of this project, where a name that is imported from a module stands for that module."""
    return {
        target if target in modules else target.rpartition(".")[0]
        for target in targets
        if target.startswith("verifier.")
    }


def imports(path: pathlib.Path, at_once: bool = False) -> set[str]:
    """Every module that a file imports, anywhere in it or as soon as it is imported itself; names
    from a package count as modules.
    """
    tree = ast.parse(path.read_text())
    found = set()
    for node in tree.body if at_once else ast.walk(tree):
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
        assert FLOORS[there] > FLOORS[here], (
            f"{relative} imports {module}, which stands on no lower floor"
        )


def test_rooms_that_run_on_a_laptop_do_not_import_jax():
    graph = {module_of(path): imports(path, at_once=True) for path in sources()}
    for module in graph:
        if not module.removeprefix("verifier.").startswith(WITHOUT_JAX):
            continue
        reached, open_ = {}, [(module, ())]
        while open_:
            name, trail = open_.pop()
            if name in reached:
                continue
            reached[name] = trail
            heavy = {target for target in graph[name] if target.split(".")[0] in HEAVY}
            assert not heavy, f"{' -> '.join((*trail, name))} imports {sorted(heavy)}"
            open_ += [(target, (*trail, name)) for target in known(graph[name], graph)]


def test_torch_and_tensorflow_are_imported_nowhere():
    for path in sources():
        heavy = {
            module
            for module in imports(path)
            if module.split(".")[0] in ("torch", "tensorflow", "transformers")
        }
        assert not heavy, f"{path.relative_to(ROOT)} imports {sorted(heavy)}"


def test_files_and_functions_keep_their_size():
    for path in [*sources(), *sorted((ROOT / "experiments").glob("*.py"))]:
        text = path.read_text()
        assert len(text.splitlines()) <= MAX_LINES, (
            f"{path.relative_to(ROOT)} has {len(text.splitlines())} lines"
        )
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= MAX_FUNCTION, (
                    f"{path.relative_to(ROOT)}: {node.name} has {length} lines"
                )


def test_no_import_cycles():
    graph = {module_of(path): imports(path) for path in sources()}
    edges = {name: known(targets, graph) - {name} for name, targets in graph.items()}
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
            assert ast.get_docstring(ast.parse(path.read_text())), (
                f"{path.relative_to(ROOT)} has no docstring"
            )


def test_the_map_names_every_module_and_none_besides():
    text = (ROOT / "WORKSPACE.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \| (.*) \|$", text[text.index("## Rooms") :], re.MULTILINE)
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert {room for room, _ in rows} == rooms
    for room, row in rows:
        there = {path.stem for path in (PACKAGE / room).rglob("*.py")} - {"__init__", "__main__"}
        there |= {
            path.name for path in (PACKAGE / room).iterdir() if (path / "__init__.py").is_file()
        }
        assert set(re.findall(r"`(\w+)/?`", row)) == there, room
