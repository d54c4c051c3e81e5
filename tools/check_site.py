"""Check built pages: python tools/check_site.py FOLDER.

The exit code is 1, with one line per problem, if a link, an anchor or a picture leads nowhere, if a
picture has no description, or if a page would load something from another host.
"""

import argparse
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {"src", "srcset", "poster", "data"}
LOADED_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch"}
IN_STYLES = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """The links of a page, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.undescribed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        self.loaded += [given[name] for name in LOADS & given.keys()]
        self.loaded += style_addresses(given.get("style", ""))
        if tag == "link" and LOADED_LINKS & set(given.get("rel", "").split()):
            self.loaded.append(given.get("href", ""))
        elif tag in ("a", "area", "link") and "href" in given:
            self.links.append(given["href"])
        if tag == "img" and not given.get("alt"):
            self.undescribed.append(given.get("src", ""))


def style_addresses(text: str) -> list[str]:
    """Return what a style sheet loads from outside itself."""
    found = (first or second for first, second in IN_STYLES.findall(text))
    return [address for address in found if not address.startswith(("data:", "#"))]


def problems(site: Path) -> list[str]:
    """Return each problem as ``page: what is wrong``."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    found = []
    for path, page in pages.items():
        said = path.relative_to(site).as_posix()
        found += [f"{said}: a picture without description: {src}" for src in page.undescribed]
        for address in page.loaded:
            if urlsplit(address).netloc:
                found.append(f"{said}: loads from elsewhere: {address}")
        for address in page.links + page.loaded:
            if reason := broken(site, path, address, pages):
                found.append(f"{said}: {address}: {reason}")
    for path in site.rglob("*.css"):
        for address in style_addresses(path.read_text(encoding="utf-8")):
            if urlsplit(address).netloc:
                found.append(f"{path.relative_to(site)}: loads from elsewhere: {address}")
            elif reason := broken(site, path, address, pages):
                found.append(f"{path.relative_to(site)}: {address}: {reason}")
    return sorted(set(found))


def broken(site: Path, page: Path, address: str, pages: dict[Path, Page]) -> str | None:
    """Return why the address leads nowhere; None if it is valid, or leads out of the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = page
    if parts.path:
        start = site if parts.path.startswith("/") else page.parent
        target = (start / unquote(parts.path).lstrip("/")).resolve()
        if target.is_dir():
            target /= "index.html"
        if not target.is_relative_to(site.resolve()) or not target.is_file():
            return "no such file"
        target = next((path for path in pages if path.resolve() == target), target)
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
        return "no such place on that page"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="Look for broken links in built pages.")
    parser.add_argument("site", type=Path, metavar="FOLDER")
    site: Path = parser.parse_args().site
    if not (site / "index.html").is_file():
        sys.exit(f"{site}: wanted a folder with index.html; make docs builds one")
    found = problems(site)
    if found:
        sys.exit("\n".join(found))
    print(f"{len(list(site.rglob('*.html')))} pages, no broken link, nothing from elsewhere")


if __name__ == "__main__":
    main()
