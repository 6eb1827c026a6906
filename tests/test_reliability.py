"""The page of promises: each is proven by a test that there is."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_test_it_names_exists() -> None:
    there = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert named - there == set()


def test_every_promise_has_one() -> None:
    section = PAGE.partition("## Not promised")[0]
    promises = [line for line in section.splitlines() if line.startswith("| ")]
    without = [line for line in promises if "`test_" not in line and line.count("|") == 3]
    assert set(without) == {"| what could break it | the test |", "| --- | --- |"}
