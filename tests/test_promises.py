"""Every promise has a test: the table of tests/README.md names those of docs/reliability.md, and tests that exist."""

import ast
import re

from tests.conftest import REPOSITORY, tier_of

README = (REPOSITORY / "tests" / "README.md").read_text()
PROMISES = (REPOSITORY / "docs" / "reliability.md").read_text().partition("## Promises")[2].partition("\n## ")[0]


def test_every_promise_has_a_test_of_the_tier_that_is_stated() -> None:
    rows = re.findall(r"^\| (.+) \| `(\S+)::(\w+)` \| (\w+) \|$", README, re.MULTILINE)
    promised = re.findall(r"^\| (.+?) \| .* \|$", PROMISES, re.MULTILINE)[1:]
    assert [promise for promise, *_ in rows][: len(promised)] == promised
    for _, file, name, tier in rows:
        path = REPOSITORY / "tests" / file
        text = path.read_text()
        functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        (function,) = (node for node in functions if node.name == name)
        own = "\n".join(map(ast.unparse, function.decorator_list))
        marked = re.search(r"^(?:pytestmark = )?pytest\.mark\.(slow|release)$", f"{own}\n{text}", re.MULTILINE)
        assert (tier_of(path) or (marked[1] if marked else "quick")) == tier, name
