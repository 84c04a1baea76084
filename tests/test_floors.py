"""The house's plan, held by reading the source: imports run down, each library has one door, nothing runs at import."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("launch", "configs", "train", "rewards", "rollout", "envs", "retriever")  # top to bottom
ONE_DOOR = (
    "trl",
    "peft",
    "deepspeed",
    "wandb",
    "ray",
    "vllm",
    "faiss",
    "bm25s",
    "sentence_transformers",
    "mcp",
    "httpx2",
    "fastapi",
    "pyseccomp",
)
MAY_TAKE_A_STDLIB_NAME = "types"
EXTRAS = {
    "vllm",
    "triton",
}  # imported where they are installed (triton: with the CUDA builds of torch), declared nowhere


@cache
def modules() -> dict[str, ast.Module]:
    """Path relative to the root → syntax tree, for every module that is packaged."""
    paths = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import in a module, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def test_imports_run_down() -> None:
    wrong = []
    for path, tree in modules().items():
        floor = FLOORS.index(path.split("/")[0])
        for line, name in imports(tree):
            top = name.split(".")[0]
            if top == "" or top == "tests" or (top in FLOORS and FLOORS.index(top) < floor):
                wrong.append(f"{path}:{line} imports {name}")
    assert wrong == [], "a folder may import itself and the folders below it, by full name"


@pytest.mark.parametrize("library", ONE_DOOR)
def test_a_library_has_one_door(library: str) -> None:
    doors = [
        path for path, tree in modules().items() if any(name.split(".")[0] == library for _, name in imports(tree))
    ]
    assert len(doors) <= 1, f"{library} is imported by {doors}; one module knows it"


def test_only_launch_parses_a_command_line() -> None:
    def parses(tree: ast.Module) -> bool:
        argv = any(isinstance(node, ast.Attribute) and node.attr == "argv" for node in ast.walk(tree))
        return argv or any(
            name.split(".")[0] in ("argparse", "optparse", "click", "typer") for _, name in imports(tree)
        )

    assert [path for path, tree in modules().items() if parses(tree) and not path.startswith("launch/")] == []


def test_package_files_are_empty() -> None:
    assert [path for path, tree in modules().items() if path.endswith("__init__.py") and tree.body] == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {Path(path).parent for path in modules()}
    assert [str(folder) for folder in sorted(folders) if not (ROOT / folder / "__init__.py").is_file()] == []


def test_no_module_takes_a_standard_library_name() -> None:
    names = {path: Path(path).stem for path in modules()} | {
        str(Path(p).parent): Path(p).parent.name for p in modules()
    }
    taken = [path for path, name in names.items() if name in sys.stdlib_module_names and name != MAY_TAKE_A_STDLIB_NAME]
    assert taken == []


def test_nothing_happens_at_import() -> None:
    wrong = []
    for path, tree in modules().items():
        for node in tree.body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            declares = isinstance(
                node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.ClassDef | ast.FunctionDef
            )
            guard = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
            if not (docstring or declares or guard or isinstance(node, ast.AsyncFunctionDef)):
                wrong.append(f"{path}:{node.lineno}")
    assert wrong == [], "a module declares; it runs nothing"


def test_setup_packages_the_floors_and_nothing_else() -> None:
    found = set(_setup()["options.packages.find"]["include"].split())
    assert found == {name for floor in FLOORS for name in (floor, f"{floor}.*")}


def test_every_imported_library_is_declared() -> None:
    declared = {_distribution(line) for line in _setup()["options"]["install_requires"].strip().splitlines()}
    distributions = packages_distributions()
    undeclared = defaultdict(list)
    for path, tree in modules().items():
        for _, name in imports(tree):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in FLOORS or top in EXTRAS:
                continue
            homes = {home.lower().replace("_", "-") for home in distributions.get(top, [top])}
            if not homes & declared:
                undeclared[top].append(path)
    assert dict(undeclared) == {}, "setup.cfg's install_requires must name what we import ourselves"


def _setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _distribution(requirement: str) -> str:
    return requirement.split("==")[0].split("[")[0].strip().lower().replace("_", "-")
