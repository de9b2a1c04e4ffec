"""Paths and modules that documentation and comments name are there."""

import pkgutil
import re

import pytest

from helpers.places import ROOT

SOURCES = ("lightning_mav", "stages", "datamodules", "configs", "tests", "benchmarks", "docs")
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("lightning_mav/**/*.md"))
)
CODE = sorted(
    path.relative_to(ROOT).as_posix()
    for kind in ("py", "yaml")
    for folder in SOURCES
    for path in ROOT.glob(f"{folder}/**/*.{kind}")
)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
# Paths from the root, and Python files by the end of their path.
PATH = re.compile(rf"(?<![\w./-])(?:(?:{'|'.join(SOURCES)})/[\w./-]*[\w/]|[\w-]+/[\w./-]*\w\.py\b)")
MODULE = re.compile(r"\blightning_mav(?:\.\w+)*\.[a-z]\w*(?:\.[A-Z]\w*)?")


def exists(path, page):
    """Whether a path, in which words in capitals stand for any name, is that of something."""
    pattern = re.sub(r"\b[A-Z][A-Z_]+\b", "*", path.rstrip("/"))
    places = (ROOT, ROOT / "lightning_mav", (ROOT / page).parent)
    return any(any(place.glob(pattern)) for place in places)


def paths_of(page):
    return {found.group() for found in PATH.finditer((ROOT / page).read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_of_pages_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = {found.group(1) for found in LINK.finditer(text)}
    assert [link for link in sorted(links) if not (ROOT / page).parent.joinpath(link).exists()] == []
    assert [path for path in sorted(paths_of(page)) if not exists(path, page)] == []


@pytest.mark.parametrize("page", PAGES)
def test_modules_that_pages_name_can_be_imported(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in {found.group() for found in MODULE.finditer(text)}:
        pkgutil.resolve_name(name)


def test_paths_in_code_and_configuration_are_there():
    missing = {
        f"{page}: {path}"
        for page in CODE
        if page != "tests/test_signs.py"
        for path in paths_of(page)
        if not exists(path, page)
    }
    assert missing == set()


def test_readme_has_a_line_for_every_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    packages = {path.parent.relative_to(ROOT) for path in ROOT.glob("lightning_mav/**/__init__.py")}
    leaves = {path for path in packages if not any(path in other.parents for other in packages)}
    leaves = {path.parent if path.parent.name == "worlds" else path for path in leaves}
    assert [path.as_posix() for path in sorted(leaves) if f"`{path.as_posix()}/`" not in text] == []
