"""The README, the book's page and the notebooks do what they show."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("page", ["crates/stepfn-python/README.md", "docs/src/python.md"])
def test_examples_are_as_shown(page: str) -> None:
    flags = doctest.NORMALIZE_WHITESPACE
    found = doctest.testfile(str(ROOT / page), module_relative=False, optionflags=flags, encoding="utf-8")
    assert found.attempted > 3 and found.failed == 0


@pytest.mark.parametrize("notebook", sorted(path.name for path in (ROOT / "docs/notebooks").glob("*.ipynb")))
def test_notebooks_run(notebook: str, tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("pandas")
    exporters: Any = pytest.importorskip("nbconvert")
    book = nbformat.read(ROOT / "docs/notebooks" / notebook, as_version=4)
    assert all(not cell.outputs for cell in book.cells if cell.cell_type == "code"), "keep notebooks without outputs"
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    page, _ = exporters.HTMLExporter().from_notebook_node(book)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    if notebook != "surprisal.ipynb":
        assert "<iframe" in page and "srcdoc=" in page
        click_a_token(tmp_path / "page.html")


def click_a_token(path: Path) -> None:
    """Opens the page in Chromium, and clicks a predicted token in the first result."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        assert not os.environ.get("STEPFN_REQUIRE_BROWSER"), "there is no Chromium to open the page in"
        pytest.skip("there is no Chromium to open the page in")
    script = """
<script>
window.addEventListener('load', () => setTimeout(() => {
  const frame = document.querySelector('iframe');
  const tokens = [...frame.contentDocument.querySelectorAll('.token.step')];
  const other = tokens.find((token) => token.getAttribute('aria-pressed') !== 'true') ?? tokens[0];
  other.click();
  document.body.textContent = `${tokens.length} tokens, pressed: ${other.getAttribute('aria-pressed')}, ${frame.clientHeight} high`;
}, 1000));
</script>
"""
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", script + "</body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--allow-file-access-from-files", "--dump-dom"]
    shown = subprocess.run([browser, *options, path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r"(\d+) tokens, pressed: true, (\d+) high", shown)
    assert found and int(found[1]) >= 1 and int(found[2]) > 200, shown[-300:]


def test_pyright_finds_nothing() -> None:
    pytest.importorskip("basedpyright")
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--level", "error"]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "crates/stepfn-python")
    assert checked.returncode == 0, checked.stdout


def test_the_package_is_typed() -> None:
    pytest.importorskip("mypy")
    checked = subprocess.run([sys.executable, "-m", "mypy", "--strict", "-p", "stepfn"], capture_output=True, text=True, cwd=ROOT / "crates/stepfn-python")
    assert checked.returncode == 0, checked.stdout
    stubs = subprocess.run([sys.executable, "-m", "mypy.stubtest", "stepfn._stepfn"], capture_output=True, text=True, cwd=ROOT / "crates/stepfn-python")
    assert stubs.returncode == 0, stubs.stdout
