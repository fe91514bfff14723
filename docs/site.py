"""The documentation as a site: `python -m docs.site` builds it in var/docs/site.

Nothing in it is loaded from elsewhere: any web server serves it, its search included.

Pages link to other files of the repository. So what is built is a copy of all pages (those of docs/
and every README), at the same places beside each other, with the files that they link to.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLONE = Path(__file__).resolve().parents[1]
_BUILT = CLONE / "var" / "docs"
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`[^`\n]+`")


def main() -> int:
    problems = broken_links()
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    _copy_pages()
    zensical = Path(sys.executable).with_name("zensical")
    command = [zensical, "build", "--clean", "--strict", "--config-file", _BUILT / "zensical.toml"]
    done = subprocess.run(command, cwd=_BUILT, check=False)
    if done.returncode == 0:
        print("python3 -m http.server -b 127.0.0.1 -d var/docs/site 8000 shows it")
    return done.returncode


def pages() -> list[Path]:
    """Return every page of the repository, relative to it, as git knows them."""
    return [Path(name) for name in _tracked("*.md") if not name.startswith("protos/gen/")]


def links(page: Path) -> Iterator[str]:
    """Yield what a page links to inside the repository, as it writes it."""
    text = _SPAN.sub("", _FENCE.sub("", (CLONE / page).read_text()))
    for target in _LINK.findall(text):
        if "://" not in target and not target.startswith("mailto:"):
            yield target


def broken_links() -> list[str]:
    """Say of each link that leads nowhere where it stands."""
    return [
        f"{page}: nothing is at {target}"
        for page in pages()
        for target in links(page)
        if not _leads_somewhere(page, target)
    ]


def _leads_somewhere(page: Path, target: str) -> bool:
    """Not to a folder either: a code host lists its files, a site has nothing to show for it."""
    path, _, fragment = target.partition("#")
    file = (CLONE / page.parent / path).resolve() if path else CLONE / page
    if not file.is_relative_to(CLONE) or not file.is_file():
        return False
    return not fragment or file.suffix != ".md" or fragment in _anchors(file)


def _anchors(file: Path) -> set[str]:
    """Return the names of a page's headings, as sites and code hosts make them."""
    titles = re.findall(r"^#+ (.+)$", _FENCE.sub("", file.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain}


def _copy_pages() -> None:
    shutil.rmtree(_BUILT, ignore_errors=True)
    wanted = pages()
    for name in (*wanted, *_linked_files(wanted)):
        target = _BUILT / "pages" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CLONE / name, target)
    shutil.copyfile(CLONE / "docs" / "zensical.toml", _BUILT / "zensical.toml")
    shutil.copyfile(CLONE / "docs" / "site.css", _BUILT / "pages" / "site.css")


def _linked_files(wanted: Iterable[Path]) -> set[Path]:
    targets = {
        (CLONE / page.parent / target.partition("#")[0]).resolve()
        for page in wanted
        for target in links(page)
    }
    return {file.relative_to(CLONE) for file in targets if file.is_file()} - set(wanted)


def _tracked(pattern: str) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", pattern]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=True)
    return sorted(name for name in done.stdout.split("\0") if name and (CLONE / name).exists())


if __name__ == "__main__":
    sys.exit(main())
