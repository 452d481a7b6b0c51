"""The index of pages names every page, and no link leads nowhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if page.name != "CHANGELOG.md"
)
INDEX = ROOT / "docs" / "README.md"


def links(page: Path) -> list[Path]:
    found = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    return [(page.parent / link).resolve() for link in found if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    assert [link for link in links(page) if not link.exists()] == []


def test_the_index_names_every_page() -> None:
    named = {*links(INDEX), INDEX}
    missing = [page for page in (ROOT / "docs").rglob("*.md") if page not in named]
    assert missing == []
