"""The documentation is right: its Python runs, its shell commands exist, its tables are current."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.testing

from keras_octet.ops import OPERATIONS
from keras_octet.tflite.emit import EMITTERS
from keras_octet_cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """First line number and text of each code block of a language."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start(3)) + 1, match[3])
        for match in FENCE.finditer(text)
        if match[2] == language
    ]


def octet_commands() -> Iterator[tuple[str, list[str]]]:
    for page in PAGES:
        for line, text in blocks(page, "sh"):
            for offset, command in enumerate(text.splitlines()):
                if command.startswith("octet "):
                    yield f"{page.name}:{line + offset}", shlex.split(command, comments=True)[1:]


@pytest.fixture
def _tables_unchanged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo what a page adds to the library's tables."""
    saved = [(table, dict(table)) for table in (OPERATIONS, EMITTERS)]
    yield
    for table, before in saved:
        table.clear()
        table.update(before)


@pytest.mark.usefixtures("_tables_unchanged")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem}
    for line, source in blocks(page, "python"):
        # Blank lines in front, so that a failure names the line of the page.
        exec(compile("\n" * (line - 1) + source, str(page), "exec"), namespace)


@pytest.mark.parametrize(
    "arguments", [pytest.param(words, id=where) for where, words in octet_commands()]
)
def test_octet_command_exists_with_these_options(arguments: list[str]) -> None:
    known = typer.testing.CliRunner().invoke(app, [arguments[0], "--help"], env={"COLUMNS": "200"})
    assert known.exit_code == 0, arguments
    for option in (word for word in arguments if re.match("--?[a-z]", word)):
        assert re.search(rf"(^|\s){option}\s", known.output), option


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        assert (page.parent / target).exists(), target


def test_names_in_the_api_page_exist() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
    assert len(names) > 10
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError:
            module, _, attribute = name.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), name


def test_every_row_says_when_it_stays_float() -> None:
    """The refusal that refuses nothing is the only one without a docstring."""
    silent = {row.refusal for row in OPERATIONS.values() if not row.stays_float}
    assert len(silent) == 1


@pytest.mark.parametrize("name", ["generate_operations", "generate_tflite_operators"])
def test_tables_are_current(name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run `make docs`"
