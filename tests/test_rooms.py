"""The plan of the house: imports between the rooms of the library go down only."""

import ast
from pathlib import Path

import manual_bp

SOURCE = Path(manual_bp.__file__).parent
# from the ground floor up; a room may import the rooms before it
ROOMS = [
    "_version", "_kind", "_jit", "_machine", "_activations", "_costs", "_network", "_show", "_equations", "_output",
    "_checks", "_devices", "_init", "_forward", "_cost_rule", "_kernel", "_gradient", "_record", "_quantities",
    "_saving", "_training", "privacy", "convert", "checker", "__init__", "sklearn", "__main__",
]  # fmt: skip


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path) -> list[str]:
    """The rooms of the library that a module imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module == "manual_bp"
            names += [f"manual_bp.{alias.name}" for alias in node.names] if whole else [node.module]
        elif isinstance(node, ast.Import):
            names += ["manual_bp.__init__" if alias.name == "manual_bp" else alias.name for alias in node.names]
    found = [name.split(".")[1] for name in names if name.startswith("manual_bp.")]
    return [name if name in ROOMS else "__init__" for name in found]


def test_every_module_has_a_room():
    assert {room(path) for path in SOURCE.rglob("*.py")} == set(ROOMS)


def test_imports_go_down():
    for path in SOURCE.rglob("*.py"):
        own = ROOMS.index(room(path))
        above = [name for name in imported(path) if ROOMS.index(name) > own]
        assert not above, f"{path.relative_to(SOURCE)} imports from {above}, which stand above {ROOMS[own]}"


def test_the_page_of_equations_is_a_page():
    text = (SOURCE / "_equations.py").read_text()
    assert len(text.splitlines()) <= 80
    for word in ("mask", "dtype", "mesh", "barrier", "present", "sharding"):
        assert word not in text


def test_hardware_has_one_room():
    """Only that room asks which platform the work runs on, and nothing asks for the process's default."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        assert "platform_dependent" not in text or room(path) == "_machine", path.name
        assert "default_backend" not in text or room(path) == "__main__", path.name
