"""The files of a folder of tools, as a worker process has them: compiled once, and never run by the worker.

A file is found by a tool's id, imports what its folder and the folder of tools hold, last, as when it was read into the
catalogue (`retriever/readers/python_functions.py`). The calls' processes do the importing; they inherit the code.

Imports little: what a worker has loaded, each fork pays for.
"""

import ast
import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
)
from types import CodeType, ModuleType

_OWN = ("envs", "retriever")  # our packages, which a worker has loaded: a tool's own module may have their name


class ToolFiles:
    """Finds and compiles; a file that was changed is compiled anew."""

    def __init__(self, folder: str) -> None:
        """Has this process forget our own modules, and import those of the folder from what is compiled."""
        self.folder = os.path.realpath(folder)
        self._codes: dict[str, tuple[tuple[int, int], CodeType]] = {}
        for own in [name for name in sys.modules if name.split(".")[0] in _OWN]:
            del sys.modules[own]
        sys.path_hooks.insert(0, self._finder)

    def path(self, file: str) -> str | None:
        """Where the file named without its ".py" is; None when the folder has no such file."""
        try:
            path = os.path.realpath(os.path.join(self.folder, f"{file}.py"), strict=True)
        except (OSError, ValueError):  # missing, or a loop of links; a null byte
            return None
        return path if self._holds(path) and os.path.isfile(path) else None

    def prepare(self, path: str) -> None:
        """Compile the file and those of the folder that it imports; import the installed libraries that they name.

        Raises what compiling the file raises. What goes wrong with an import is told by the call's own.
        """
        if self._known(path) is not None:
            return
        waiting, libraries = [path], set[str]()
        while waiting:
            file = waiting.pop()
            try:
                tree = ast.parse(_read(file), filename=file)
                code = compile(tree, file, "exec", dont_inherit=True)
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                if file == path:
                    raise
                continue
            self._codes[file] = (_version(file), code)
            named = set(_imported(tree, file))
            own = {found for name in named for found in self._own(name, file) if self._known(found) is None}
            waiting += own - set(waiting)
            libraries |= {name for name in named if not name.startswith("/")}
        for name in sorted(libraries):
            with suppress(Exception, SystemExit), _Without(self.folder):
                importlib.import_module(name)
        PathFinder.find_spec(_stem(path), self._places(path))  # the calls need not list the folders again
        gc.collect()
        gc.freeze()  # what is kept is not written to by later collections, and so not copied after a fork

    def module(self, path: str) -> ModuleType:
        """The file as a module, run: only in the process of a call. Raises what its code raises."""
        sys.path.extend(self._places(path))
        module = ModuleType(f"toolscout_source_{_stem(path)}")
        module.__file__ = path
        module.__spec__ = ModuleSpec(module.__name__, None, origin=path)
        sys.modules[module.__name__] = module  # dataclasses and get_type_hints look a module up by its name
        exec(self._known(path) or compile(_read(path), path, "exec", dont_inherit=True), module.__dict__)
        return module

    def _places(self, path: str) -> list[str]:
        """Where the file's imports are looked for, after everything else."""
        return list(dict.fromkeys((os.path.dirname(path), self.folder)))

    def _known(self, path: str) -> CodeType | None:
        version, code = self._codes.get(path, (None, None))
        return code if code is not None and version == _version(path) else None

    def _own(self, name: str, importer: str) -> Iterator[str]:
        """The files of the folder that `name` may stand for."""
        for base in (os.path.dirname(importer), self.folder):
            stem = os.path.join(base, name if name.startswith("/") else name.replace(".", "/"))
            for path in (f"{stem}.py", f"{stem}/__init__.py"):
                if self._holds(path) and os.path.isfile(path):
                    yield path

    def _holds(self, path: str) -> bool:
        return path.startswith(os.path.join(self.folder, ""))

    def _finder(self, entry: str) -> FileFinder:
        """A path hook for the folder of tools."""
        if entry != self.folder and not self._holds(entry):
            raise ImportError("not in the folder of tools")
        known = self._known

        class Compiled(SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType | None:
                return known(self.path) or super().get_code(fullname)

        return FileFinder(entry, (ExtensionFileLoader, EXTENSION_SUFFIXES), (Compiled, [".py"]))


class _Without:
    """While it is entered, nothing of the folder is imported, however it may be found: by a path, a `.pth` file or an
    editable installation, under any name, by a library that imports it.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self)

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find. Raises ModuleNotFoundError where that lies in the folder."""
        for finder in [other for other in sys.meta_path if other is not self and hasattr(other, "find_spec")]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                for place in (spec.origin or "", *(spec.submodule_search_locations or ())):
                    if os.path.join(os.path.realpath(place), "").startswith(os.path.join(self._folder, "")):
                        raise ModuleNotFoundError(f"{name} is of the folder of tools", name=name)
                return spec
        return None


def _version(path: str) -> tuple[int, int]:
    stat = os.stat(path)
    return stat.st_mtime_ns, stat.st_size


def _imported(tree: ast.Module, path: str) -> Iterator[str]:
    """What a file imports at its top level: dotted names, and for relative ones the absolute path of the module."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                folder = path.rsplit("/", node.level)[0]
                start = os.path.join(folder, *start.split("."))
            yield start
            yield from (f"{start}{'/' if node.level else '.'}{alias.name}" for alias in node.names)
    if any(isinstance(node, ast.AsyncFunctionDef) for node in ast.walk(tree)):
        yield "asyncio"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _stem(path: str) -> str:
    return os.path.basename(path).removesuffix(".py")
