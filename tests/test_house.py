"""The rules of the house, held by reading the source: who imports whom, how long things get, what never occurs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import mgil

REPOSITORY = Path(__file__).resolve().parents[1]
# Each room of mgil/ may import the rooms named after it; what stands above the package may import all of it.
MAY_IMPORT: dict[str, set[str]] = {
    "block": set(),
    "files": set(),
    "networks": {"block", "files"},
    "datasets": {"files"},
    "tasks": {"networks", "datasets", "block", "files"},
    "engine": {"tasks", "networks", "datasets", "block", "files"},
}
# Each room of mgil/engine/ likewise; all may import its top, of which command.py alone imports rooms: it starts them.
ENGINE_MAY_IMPORT: dict[str, set[str]] = {
    "weights": set(),
    "sources": set(),
    "runtimes": {"weights"},
    "evaluation": {"runtimes", "weights"},
    "prediction": {"sources", "runtimes", "weights"},
    "export": {"runtimes", "weights"},
    "training": {"evaluation", "runtimes", "weights"},
    "hub": {"prediction", "runtimes", "weights"},
}
KNOWN_OF_TASKS = {"abilities", "base", "exported", "registry"}  # by the engine, and by each task of the others
PACKAGE = REPOSITORY / "mgil"
ENGINE, TASKS, TOY = PACKAGE / "engine", PACKAGE / "tasks", REPOSITORY / "tests" / "tasks" / "toy"
TRACKERS = ENGINE / "prediction" / "trackers.py"
# They run in the peers' environment, where this project's packages are not.
PEERS_WORKERS = ["channel", "peer_model", "ultralytics_peer", "upstream", "label_scan_upstream"]
MAX_FILE, MAX_CLASS, MAX_FUNCTION, MAX_FORWARD = 400, 150, 60, 25  # lines
UNFINISHED = ["TO" + "DO", "FIX" + "ME"]  # put together here so that this file does not hold them itself

UNSAFE_YAML_LOADERS = {"yaml.Loader", "yaml.FullLoader", "yaml.UnsafeLoader"}

ROOM_FILES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(REPOSITORY.glob("*.py"))
BENCHMARK_FILES = sorted((REPOSITORY / "benchmarks").rglob("*.py"))
TEST_FILES = sorted((REPOSITORY / "tests").rglob("*.py"))
PRODUCT_FILES = ROOM_FILES + SCRIPTS
ALL_FILES = PRODUCT_FILES + BENCHMARK_FILES + TEST_FILES
DOCUMENTS = sorted(path for folder in (".", "docs", "mgil") for path in (REPOSITORY / folder).glob("*.md"))

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def files(paths: list[Path]) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """Make a rule for one file a test of all: thousands of tests would take longer to be told than to be done."""

    def decorate(rule: Callable[[Path], None]) -> Callable[[], None]:
        def test() -> None:
            broken = []
            for path in paths:
                try:
                    rule(path)
                except AssertionError as error:
                    broken.append(f"{relative(path)}: {error}")
            assert not broken, "\n".join(broken)

        test.__name__, test.__doc__ = rule.__name__, rule.__doc__
        return test

    return decorate


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree_of(path)))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in nodes_of(path) if isinstance(node, Function))


def imported(path: Path) -> set[str]:
    """Return the first part of every module name that the file imports."""
    return {name.partition(".")[0] for name in modules(path)}


def room(module: str) -> str:
    """The room of mgil/ that a module is in; "" for all others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "mgil" and len(parts) > 1 else ""


def named_in(package: Path, path: Path) -> set[str]:
    """What a file imports of a package, one level deep: `base` for `mgil.tasks.base` and `from mgil.tasks import base`.

    The package itself, imported whole, is "".
    """
    name = relative(package).replace("/", ".")
    found = {module for module in modules(path) if module.startswith(f"{name}.")}
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {f"{name}." for alias in node.names if alias.name == name}
        elif isinstance(node, ast.ImportFrom) and node.module == name:
            found |= {f"{name}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == name.rpartition(".")[0]:
            found |= {f"{name}." for alias in node.names if alias.name == package.name}
    return {module.removeprefix(f"{name}.").partition(".")[0] for module in found}


@cache
def modules(path: Path) -> set[str]:
    """Return every module name that the file imports, also by `importlib.import_module("name")`."""
    names = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno}: relative import"
            names.add(node.module or "")
        elif isinstance(node, ast.Call) and called(node) in {"import_module", "import_package", "__import__"}:
            names.update(str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))
    return names


def called(call: ast.Call) -> str:
    """Return the name that is called: `load` for both `load()` and `torch.load()`."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def offences(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Yield what must never occur, with the place."""
    for node in nodes_of(path):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield node, "star import"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node, "bare except"
        elif isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.unparse(node.exc):
            yield node, "something unfinished"
        elif isinstance(node, ast.Attribute) and node.attr == "path" and ast.unparse(node) == "sys.path":
            yield node, "sys.path"
        elif isinstance(node, ast.Call):
            yield from ((node, offence) for offence in call_offences(node))
        elif isinstance(node, Function | ast.Lambda):
            defaults = [*node.args.defaults, *node.args.kw_defaults]
            if any(isinstance(default, ast.List | ast.Dict | ast.Set) for default in defaults):
                yield node, "mutable default"


def call_offences(call: ast.Call) -> Iterator[str]:
    watched = {"shell", "weights_only", "allow_pickle", "Loader"}
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg in watched}
    suspects = {"eval", "exec", "system", "popen", "load", "full_load", "unsafe_load"}
    name = ast.unparse(call.func) if called(call) in suspects else ""
    if name in {"eval", "exec", "os.system", "os.popen"}:
        yield name
    if options.get("shell") == "True":
        yield "shell=True"
    if name == "torch.load" and options.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if options.get("allow_pickle") == "True":
        yield "allow_pickle=True"
    if name in {"yaml.full_load", "yaml.unsafe_load"}:
        yield name
    if name == "yaml.load" and options.get("Loader", "yaml.Loader") in UNSAFE_YAML_LOADERS:
        yield "yaml.load with a loader that builds Python objects"


def test_there_is_something_to_read() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"} == set(MAY_IMPORT)


@files([path for path in ROOM_FILES if path.parent != PACKAGE])
def test_imports_point_one_way(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    rooms = {room(module) for module in modules(path)} - {own, ""}
    assert rooms <= MAY_IMPORT[own], f"{own} must not import {', '.join(sorted(rooms - MAY_IMPORT[own]))}"
    assert not imported(path) & {"benchmarks", "tests"}


def test_the_engine_has_the_rooms_that_it_says() -> None:
    assert {path.name for path in ENGINE.iterdir() if path.is_dir() and path.name[0] != "_"} == set(ENGINE_MAY_IMPORT)


@files([path for path in ROOM_FILES if path.is_relative_to(ENGINE)])
def test_the_engine_knows_no_task(path: Path) -> None:
    """It learns of them from the registry, so that another task touches none of its files: the toy is in none."""
    assert named_in(TASKS, path) <= KNOWN_OF_TASKS
    assert not re.search("toy", path.read_text(encoding="utf-8"), re.IGNORECASE)


@files([path for path in ROOM_FILES if path.is_relative_to(ENGINE)])
def test_rooms_of_the_engine_import_one_way(path: Path) -> None:
    own = path.relative_to(ENGINE).parts[0]
    rooms = named_in(ENGINE, path) & set(ENGINE_MAY_IMPORT)
    allowed = ENGINE_MAY_IMPORT.get(own, set(ENGINE_MAY_IMPORT) if own == "command.py" else set())
    assert rooms - {own} <= allowed, f"{own} must not import {', '.join(sorted(rooms - allowed))}"


@files([path for path in ROOM_FILES if path.is_relative_to(TASKS)] + sorted(TOY.rglob("*.py")))
def test_tasks_know_neither_the_engine_nor_each_other(path: Path) -> None:
    own = set(path.relative_to(TASKS).parts[:-1][:1]) if path.is_relative_to(TASKS) else set()
    assert named_in(TASKS, path) <= KNOWN_OF_TASKS | own
    assert named_in(PACKAGE, path) <= MAY_IMPORT["tasks"] | {"tasks"}


@files([path for path in ROOM_FILES if path.is_relative_to(PACKAGE / "block")])
def test_the_block_needs_torch_alone(path: Path) -> None:
    assert imported(path) - set(sys.stdlib_module_names) <= {"torch", "mgil"}


@files([REPOSITORY / "benchmarks" / "workers" / f"{name}.py" for name in PEERS_WORKERS])
def test_workers_of_peers_need_none_of_this_project(path: Path) -> None:
    assert not imported(path) & {"mgil", "tests"}


@files([path for path in ALL_FILES if path.stem not in PEERS_WORKERS and path != TRACKERS])
def test_one_module_imports_ultralytics(path: Path) -> None:
    """It changes a process and writes files; that module puts both back. For benchmarks/ it is a peer, in another
    environment."""
    assert "ultralytics" not in imported(path)


@files(ALL_FILES)
def test_files_classes_and_functions_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_FILE, f"{relative(path)} has {lines} lines"
    for node in nodes_of(path):
        if isinstance(node, ast.ClassDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_CLASS, f"{relative(path)}:{node.lineno}: {node.name} has {length} lines"
    for function in functions(path):
        length = (function.end_lineno or 0) - function.lineno + 1
        limit = MAX_FORWARD if function.name == "forward" else MAX_FUNCTION
        assert length <= limit, f"{relative(path)}:{function.lineno}: {function.name} has {length} lines, over {limit}"


@files(ALL_FILES)
def test_every_signature_is_typed(path: Path) -> None:
    for function in functions(path):
        place = f"{relative(path)}:{function.lineno}: {function.name}"
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        untyped = [name.arg for name in named if name and name.annotation is None and name.arg not in {"self", "cls"}]
        assert not untyped, f"{place}: no type for {', '.join(untyped)}"
        assert function.returns is not None, f"{place}: no return type"


@files(PRODUCT_FILES + BENCHMARK_FILES)
def test_public_things_say_what_they_are(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree), f"{relative(path)}: no docstring"
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{relative(path)}:{node.lineno}: {node.name} has no docstring"


@files(ALL_FILES)
def test_nothing_forbidden(path: Path) -> None:
    found = [f"{relative(path)}:{getattr(node, 'lineno', 0)}: {offence}" for node, offence in offences(path)]
    assert not found, "; ".join(found)


@files(PRODUCT_FILES + BENCHMARK_FILES)
def test_no_pickle_and_nothing_unfinished(path: Path) -> None:
    assert not imported(path) & {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
    text = path.read_text(encoding="utf-8")
    assert not [word for word in UNFINISHED if word in text]
    if path.name != "__init__.py":
        assert "from __future__ import annotations" in text


def test_version_is_stated_once() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert 'dynamic = ["version", "optional-dependencies"]' in text
    assert mgil.__version__.count(".") == 2


def test_everything_public_in_mgil_is_exported() -> None:
    assert mgil.__all__ == sorted(mgil.__all__, key=lambda name: (not name[0].isupper(), name))
    assert all(getattr(mgil, name).__doc__ for name in mgil.__all__)


@files(DOCUMENTS)
def test_links_lead_somewhere(path: Path) -> None:
    lost = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", path.read_text(encoding="utf-8")):
        place = path.parent / target if target else path
        if "://" not in target and not (place.exists() and (not anchor or anchor in anchors(place))):
            lost.append(f"{target}#{anchor}" if anchor else target)
    assert lost == []


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a Markdown file."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_repository_holds_no_links() -> None:
    """A link to an environment beside it would stop the installation of everybody else."""
    try:
        found = subprocess.run(["git", "ls-files", "-s"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git here, or no clone")
    assert found.stdout and [line for line in found.stdout.splitlines() if line.startswith("120000")] == []
