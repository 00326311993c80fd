"""The house rules that no linter knows; each is also seen to fail on a planted fault."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
Rule = Callable[[Path], list[str]]

# A package's __init__ holds a sentence, and __main__ is tested as test_main.py.
_WITHOUT_OWN_TEST = {"__init__.py", "__main__.py"}
# Data is tested through what is made of it: the page and the catalogue's own test, and the two whole programs.
_TESTED_ELSEWHERE = {
    "engine/kinds.py": "unit/engine/test_watch.py",
}


def modules(root: Path) -> Iterator[Path]:
    yield from sorted((root / "exporter").rglob("*.py"))


def only_one_module_speaks_aiodocker(root: Path) -> list[str]:
    allowed = root / "exporter/engine/api.py"
    return [
        str(path)
        for path in modules(root)
        if path != allowed and re.search(r"\baiodocker\b.*import|import aiodocker", path.read_text())
    ]


def every_module_has_its_test(root: Path) -> list[str]:
    missing = []
    for path in modules(root):
        short = path.relative_to(root / "exporter")
        test = _TESTED_ELSEWHERE.get(str(short), f"unit/{short.parent}/test_{short.name}")
        if path.name not in _WITHOUT_OWN_TEST and not (root / "tests" / test).exists():
            missing.append(str(short))
    return missing


def tasks_belong_to_groups(root: Path) -> list[str]:
    found = []
    for path in modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("create_task", "ensure_future"):
                owner = ast.unparse(node.value)
                if owner != "group":
                    found.append(f"{path}:{node.lineno} {owner}.{node.attr}")
    return found


def any_exception_is_caught_in_the_runner_only(root: Path) -> list[str]:
    runner = root / "exporter/metrics/runner.py"
    found = []
    for path in modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "BaseException"
                if re.search(r"\b(Base)?Exception\b", caught) and path != runner:
                    found.append(f"{path}:{node.lineno} except {caught}")
    return found


def modules_begin_with_a_sentence(root: Path) -> list[str]:
    def begins_well(path: Path) -> bool:
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        return text.partition("\n\n")[0].endswith(".")

    return [str(path) for path in modules(root) if not begins_well(path)]


def nothing_sleeps_on_the_loop(root: Path) -> list[str]:
    beside = root / "exporter/volume/walker.py"  # a process of its own
    return [
        str(path) for path in modules(root) if path != beside and re.search(r"\btime\.sleep\(", path.read_text())
    ]


def every_family_is_used(root: Path) -> list[str]:
    catalogue = root / "exporter/metrics/catalogue.py"
    names = {
        name.id
        for node in ast.parse(catalogue.read_text()).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name) and name.id.isupper() and not name.id.startswith("_")
    }
    text = "\n".join(path.read_text() for path in modules(root) if path != catalogue)
    return sorted(name for name in names if not re.search(rf"\b{name}\b", text))


def no_place_of_this_machine_is_named(root: Path) -> list[str]:
    pattern = re.compile(r"/work/|pypi\.org|files\.pythonhosted|registry\.npmjs|deb\.debian\.org")
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    ours = [
        path
        for path in files
        if not re.search(r"/\.(git|venv|build|[a-z_]*cache|hypothesis)(/|$)|/dist/", str(path))
    ]
    texts = [path for path in ours if path.suffix in {".py", ".md", ".toml", ".txt", ".sh", ".yml", ".json", ""}]
    return [
        str(path)
        for path in texts
        if path.name != Path(__file__).name and pattern.search(path.read_text(errors="replace"))
    ]


PLANTED: dict[Rule, tuple[str, str]] = {
    only_one_module_speaks_aiodocker: ("exporter/web/bad.py", '"""Bad."""\nimport aiodocker\n'),
    every_module_has_its_test: ("exporter/web/bad.py", '"""Bad."""\n'),
    tasks_belong_to_groups: ("exporter/web/bad.py", '"""Bad."""\nloop.create_task(x())\n'),
    any_exception_is_caught_in_the_runner_only: (
        "exporter/web/bad.py",
        '"""Bad."""\ntry:\n    pass\nexcept (ValueError, Exception):\n    pass\n',
    ),
    modules_begin_with_a_sentence: ("exporter/web/bad.py", "x = 1\n"),
    nothing_sleeps_on_the_loop: ("exporter/web/bad.py", '"""Bad."""\nimport time\ntime.sleep(1)\n'),
    every_family_is_used: ("exporter/metrics/catalogue.py", '"""Bad."""\nDEAD = _family("docker_dead")\n'),
    no_place_of_this_machine_is_named: ("docs/bad.md", "see /wo" + "rk/main\n"),
}


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule: Rule) -> None:
    assert rule(REPOSITORY) == []


@pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)
def test_the_rule_finds_a_planted_fault(rule: Rule, tmp_path: Path) -> None:
    name, text = PLANTED[rule]
    (tmp_path / "exporter" / "web").mkdir(parents=True)
    (tmp_path / "exporter" / "metrics").mkdir()
    catalogue = tmp_path / "exporter/metrics/catalogue.py"
    catalogue.write_text('"""Families."""\n')
    (tmp_path / "tests/unit/metrics").mkdir(parents=True)
    (tmp_path / "tests/unit/metrics/test_catalogue.py").touch()
    (tmp_path / "docs").mkdir()
    assert rule(tmp_path) == []
    (tmp_path / name).write_text(text)
    assert len(rule(tmp_path)) == 1


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_an_import_that_points_the_wrong_way_is_found(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "exporter", tmp_path / "exporter", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    assert lint_imports(tmp_path).returncode == 0
    with (tmp_path / "exporter/inventory/model.py").open("a") as model:
        model.write("\nimport exporter.engine.api\n")
    broken = lint_imports(tmp_path)
    assert broken.returncode == 1
    assert "exporter.inventory is not allowed to import exporter.engine" in " ".join(broken.stdout.split())
