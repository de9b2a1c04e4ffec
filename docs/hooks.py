"""What the documentation site has besides the pages in docs/.

Pages link to each other and to source files by relative paths, which work on a repository's web page. On the
site README is the home page, and every file or folder outside docs/ that a page links to gets a page that
shows it. The API reference is made from docstrings, one page for each package. MkDocs calls the functions
``on_*``.
"""

import os
import re
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pymdownx.superfences import fence_code_format

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lightning_mav"
TOP = ("stages", "datamodules")  # its packages that lie at the top of the repository
# Files of the list of a folder, and how they are coloured.
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".txt": "text", ".json": "json"}
LANGUAGES |= {".md": "", ".png": ""}
LINK = re.compile(r"\]\(([^)\s:#]+)(#[^)\s]*)?\)")

_installed = tempfile.TemporaryDirectory()
_origins: dict[str, str] = {}  # path in the repository of each page that is not in docs/


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Draws Mermaid's pictures, and shows mkdocstrings the packages as they are when installed."""
    fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    package = Path(_installed.name, PACKAGE.name)
    if not package.exists():
        package.mkdir()
        for path in (*PACKAGE.iterdir(), *(ROOT / name for name in TOP)):
            (package / path.name).symlink_to(path)
    handlers: Any = config.plugins["mkdocstrings"].config
    handlers["handlers"]["python"]["paths"] = [_installed.name]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the home page, the reference, and a page for everything that pages link to."""
    linked = ["README.md"]
    for file in files.documentation_pages():
        linked += _links(file.content_string, f"docs/{file.src_uri}")
    while linked:
        path = linked.pop()
        uri = _uri(path)
        if files.get_file_from_path(uri):
            continue
        content = _show(ROOT / path)
        _origins[uri] = f"{path}/" if (ROOT / path).is_dir() else path
        linked += _links(content, _origins[uri])
        inclusion = InclusionLevel.UNDEFINED if uri == "index.md" else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, uri, content=content, inclusion=inclusion))
    for name, content in _reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links that work in the repository work on the site."""
    uri = page.file.src_uri
    origin = _origins.get(uri, f"docs/{uri}")

    def rewritten(match: re.Match[str]) -> str:
        path = _resolve(match[1], origin)
        if not path:
            return match[0]
        target = os.path.relpath(_uri(path), PurePosixPath(uri).parent)
        return f"]({target}{match[2] or ''})"

    return LINK.sub(rewritten, markdown) if _has_links(origin) else markdown


def _has_links(origin: str) -> bool:
    """Whether a page is Markdown in the repository, too, or the list of a folder."""
    return origin.endswith((".md", "/"))


def _links(markdown: str, origin: str) -> list[str]:
    """Returns the paths in the repository that a page links to."""
    found = LINK.finditer(markdown) if _has_links(origin) else []
    return [path for match in found if (path := _resolve(match[1], origin))]


def _resolve(link: str, origin: str) -> str:
    """Returns the path in the repository that a link of a page means; empty if nothing is there."""
    path = os.path.normpath(os.path.join(os.path.dirname(origin), link))
    return path if not path.startswith("..") and (ROOT / path).exists() else ""


def _uri(path: str) -> str:
    """Returns where a path in the repository is on the site."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/") and (ROOT / path).is_file():
        return path.removeprefix("docs/")
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def _show(path: Path) -> str:
    """Returns the page of a file or a folder."""
    title = f"# `{path.relative_to(ROOT)}`"
    if path.is_dir():
        names = sorted(child.name for child in path.iterdir() if child.suffix in LANGUAGES)
        return "\n".join([title, "", *(f"- [{name}]({name})" for name in names)])
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"{title}\n\n`````{LANGUAGES.get(path.suffix, 'text')}\n{text}\n`````\n"


def _reference() -> dict[str, str]:
    """Returns the pages of the API reference by name: one for each package, one for all other modules."""
    found: dict[str, list[str]] = {}
    for base, folder in ((PACKAGE, PACKAGE), *((ROOT, ROOT / name) for name in TOP)):
        for path in sorted(folder.rglob("*.py"), key=lambda path: (path.parent, path.name)):
            parts = path.relative_to(base).with_suffix("").parts
            if parts[0].startswith("__"):
                continue
            entry = "::: " + ".".join((PACKAGE.name, *parts)).removesuffix(".__init__")
            if path.name == "__init__.py" and "__all__" in path.read_text(encoding="utf-8"):
                entry += "\n    options: {members: false}"  # they are described where they are defined
            found.setdefault("cascade" if len(parts) == 1 else parts[0], []).append(entry)
    return {name: "\n\n".join([f"# {name}", *entries]) for name, entries in found.items()}
