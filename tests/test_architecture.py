"""ARCHITECTURE.md and its neighbours speak of what is there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
FLOORS = ("commands", "flows", "protocols", "tasks", "schemas", "willsuite", "sandbox")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    named = re.findall(rf"`((?:{'|'.join(FLOORS)}|tests|data|docs)/[\w./-]*)`", text)
    linked = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    missing = [path for path in named if not (ROOT / path).exists()]
    missing += [link for link in linked if not (page.parent / link).exists()]
    assert missing == []


def test_the_floors_of_the_picture_are_those_that_are_checked() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = config["contracts"][0]["layers"]
    picture = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1]
    names = [name for layer in layers for name in layer.split(" | ")]
    order = [found.start() for name in names if (found := re.search(rf"\b{name}\[", picture))]
    assert len(order) == len(names)
    assert order == sorted(order)


def test_every_package_of_the_protocols_is_on_its_page() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    packages = [path.parent.name for path in (ROOT / "protocols").glob("*/__init__.py")]
    assert [name for name in packages if f"`protocols/{name}/`" not in text] == []
