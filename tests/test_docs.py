"""README and pages: their code runs and prints what they say, and their links lead somewhere."""

import contextlib
import io
import itertools
import linecache
import re
import tomllib
from pathlib import Path

import jax
import pytest

import manual_bp as bp

ROOT = Path(__file__).parent.parent
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
README = ROOT / "README.md"


def test_readme_is_one_page():
    text = README.read_text()
    assert len(text.splitlines()) <= 150 and len(text.encode()) <= 10_240


def without_rounding(text: str) -> str:
    """The text without errors that are nothing but rounding, which differ between versions and machines."""
    text = re.sub(r" +(\d\.\d|\d)e-1[5-9]| +0(?= |$)", " rounding", text, flags=re.M)
    return re.sub(r"reproduces\s+your\s+line\s+(exactly|within\s+rounding)", "reproduces your line", text)


@pages
def test_code_prints_what_the_page_says(page, deep, monkeypatch, tmp_path):
    """Run each Python block, in order, in one namespace; a text block right after one holds what it prints."""
    monkeypatch.chdir(tmp_path)
    texts = [page.read_text()]
    if page.stem == "mistakes":  # each group of mistakes needs the lines that all share, and no others
        shared, *groups = texts[0].split("\n## ")
        texts = [shared + group for group in groups if deep or group.startswith("Rules")]
    for text in texts:
        run_and_compare(page.name, text)


def run_and_compare(name: str, text: str):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M)
    namespace = {}
    with jax.enable_x64(False):
        for (language, code), (after, output) in itertools.pairwise([*blocks, ("", "")]):
            if language == "python" and "jax.distributed" not in code:  # several processes: training/test_processes.py
                linecache.cache[name] = len(code), None, code.splitlines(True), name  # reports quote it
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(compile(code, name, "exec"), namespace)
                shown = output if after == "text" else ""
                assert without_rounding(printed.getvalue()) == without_rounding(shown)


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub names them."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pages
def test_links_lead_somewhere(page):
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", prose)
    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {path}, which is not there"
        assert not anchor or anchor in headings(target), f"{page.name} links to {path}#{anchor}"


def test_readme_leads_to_every_page():
    links = set(re.findall(r"\]\((docs/\w+\.md)\)", README.read_text()))
    assert links == {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}


def test_citation_and_package_agree():
    citation = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(), re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software" and citation["message"]
    assert (citation["title"], citation["version"], citation["license"], citation["abstract"]) == (
        project["name"], bp.__version__, project["license"], project["description"],
    )  # fmt: skip
    assert f"\nauthors:\n  - name: {project['authors'][0]['name']}\n" in (ROOT / "CITATION.cff").read_text()
