"""Check the built documentation: every picture and every link of it that stays inside exists, anchors too.

The search finds what people look for.

python tools/check_site.py SITE
"""

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOOKED_FOR = ("troubleshooting", "glossary", "negative stain", "windows", "crowded", "membrane", "tiff", "cryosparc")


class Page(HTMLParser):
    """What a page refers to, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.wanted: list[str] = []
        self.anchors = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a reference or an anchor."""
        values = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := values.get(name)))
        self.wanted.extend(value for name in ("href", "src") if (value := values.get(name)))


def missing(site: Path) -> list[str]:
    """Return a line for each picture, link or anchor that does not exist."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    if not pages:
        return [f"{site} holds no pages; build the documentation first."]
    found = []
    for path, page in pages.items():
        for reference in page.wanted:
            parts = urlsplit(reference)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                found.append(f"{page.path}: {reference} does not exist")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{page.path}: {reference} has no such anchor")
    return found


def not_found(site: Path) -> list[str]:
    """Return a line for each word that the search does not find."""
    entries = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    text = " ".join(f"{entry['title']} {entry['text']}" for entry in entries).lower()
    return [f"The search does not find {word!r}." for word in LOOKED_FOR if word not in text]


if __name__ == "__main__":
    wrong = missing(Path(sys.argv[1])) or not_found(Path(sys.argv[1]))
    print("\n".join(wrong) or "Every picture and link exists, and the search finds what people look for.")
    sys.exit(bool(wrong))
