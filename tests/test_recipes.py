"""The recipes name what there is."""

import re
from pathlib import Path

import willsuite_flows

RECIPES = (Path(__file__).resolve().parent.parent / "docs" / "recipes.md").read_text()


def test_every_function_that_a_recipe_calls_can_be_imported() -> None:
    called = {name for block in re.findall(r"```python\n(.*?)```", RECIPES, re.S)
              for name in re.findall(r"\b([a-z_]+)\(", block)}  # fmt: skip
    assert called
    assert called <= set(willsuite_flows.__all__)


def test_every_recipe_can_be_compiled() -> None:
    for block in re.findall(r"```python\n(.*?)```", RECIPES, re.S):
        compile(
            f"async def cell():\n    {block.strip().replace(chr(10), chr(10) + '    ')}", "", "exec"
        )
