"""The structural rules of the house, kept by machine."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
LINES_MAX = 300
FUNCTION_LINES_MAX = 60
PACKAGES = ("contract", "handlers", "models", "ops", "providers", "realtime", "rest", "security", "storage", "workers")


def tracked(*endings: str) -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in names if name.endswith(endings) and (ROOT / name).exists()]


SOURCES = tracked(".py")
ROOTS = ("domain.py", "formation.py", "server.py", "settings.py")
OURS = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in (*PACKAGES, *ROOTS)]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "path", [path for path in tracked(".py", ".js", ".css") if "tests" not in path.parts], ids=name_of
)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_functions_are_short_and_modules_say_what_they_own(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    if source.strip():
        assert ast.get_docstring(tree), "no module docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


def holders(pattern: str, paths: list[Path] = OURS) -> set[str]:
    return {name_of(path) for path in paths if re.search(pattern, path.read_text(), re.MULTILINE)}


def test_only_settings_reads_the_environment() -> None:
    assert holders(r"os\.environ|getenv") == {"settings.py"}


def test_settings_are_made_at_the_roots_only() -> None:
    assert holders(r"^(import settings|from settings)") == {
        "domain.py",
        "formation.py",
        "server.py",
        "models/ledger/__main__.py",
        "models/payments/__main__.py",
        "models/users/__main__.py",
        "workers/__main__.py",
        "workers/process.py",
    }


def test_only_the_publisher_emits() -> None:
    assert holders(r"\.emit\(") == {"realtime/publisher.py"}


def test_the_driver_stays_in_storage_and_stores() -> None:
    assert holders(r"^\s*(from|import) motor") == {"storage/mongo.py"}
    allowed = re.compile(r"storage/.*|models/\w+/(store|document)\.py")
    assert {name for name in holders(r"^\s*(from|import) pymongo") if not allowed.fullmatch(name)} == set()


def test_nouns_use_each_other_through_actions_only() -> None:
    for path in OURS:
        parts = path.relative_to(ROOT).parts
        if parts[0] != "models" or len(parts) < 3 or parts[2] == "__main__.py":
            continue
        for noun in re.findall(r"^from models\.(\w+)\.store import", path.read_text(), re.MULTILINE):
            assert noun == parts[1], f"{name_of(path)} uses the store of {noun}"


def test_the_embedded_database_is_run_and_never_imported() -> None:
    assert holders(r"^\s*(from|import) secantus", SOURCES) == set()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_exact(name: str) -> None:
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith(("#", "-r")):
            assert re.match(r"[a-z0-9-]+==[0-9][^ ;]*", line), line


def test_the_changelog_has_the_version() -> None:
    version = re.search(r'VERSION = "([^"]+)"', (ROOT / "contract/catalogue.py").read_text())
    assert version is not None
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_index_of_decisions_has_them_all() -> None:
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    for page in sorted(folder.glob("0*.md")):
        number, title = re.match(r"# (\d+)\. (.*)", page.read_text().splitlines()[0]).groups()  # type: ignore[union-attr]
        assert re.search(
            rf"^\| {number} \| \[{re.escape(title)}\]\({page.name}\) \| \d{{4}}-\d\d-\d\d \|$", index, re.M
        )


def test_only_the_executor_asks_for_a_role() -> None:
    assert holders(r"\.role (not )?in|ADMINISTRATORS\b") == {"contract/identity.py", "models/executor.py"}
