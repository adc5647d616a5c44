"""Every Python block that a reader could copy runs: README, the pages of `docs/`, the examples in docstrings."""

from __future__ import annotations

import doctest
import importlib
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import llmorch
from tests.architecture.tree import ROOT, Module, modules
from tests.docs.blocks import python_blocks, run_blocks

PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if page.exists()]
DOCTEST = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL

# Faces over optional packages: their files cannot be imported without them.
NEEDS_EXTRA = ("cli/", "server/", "mcp/", "distributed/", "stores/sqlalchemy/")


@pytest.fixture(autouse=True)
def _default_options() -> Iterator[None]:
    """Pages and examples set the default orchestrator's options; each begins without any."""
    llmorch.configure()
    yield
    llmorch.configure()


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_the_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(python_blocks(page.read_text(encoding="utf-8")), page)


@pytest.mark.parametrize("module", [m for m in modules() if m.unit != "__main__"], ids=lambda module: module.relative)
def test_the_examples_of_a_module_give_what_they_show(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They see the module's own names and, as after `from llmorch import *`, the public face."""
    if ">>> " not in module.text:
        return
    monkeypatch.chdir(tmp_path)
    if module.relative.startswith(NEEDS_EXTRA):
        pytest.importorskip(module.name, exc_type=ImportError)
    code = importlib.import_module(module.name)
    face = {name: getattr(llmorch, name) for name in llmorch.__all__ if name not in vars(code)}
    failed, tried = doctest.testmod(code, extraglobs=face, optionflags=DOCTEST)
    assert tried, f"{module.relative} shows examples that no docstring of its own holds"
    assert not failed


PAGE = """\
Text.

```python
x = 1
```

```bash
python nothing
```

=== "Tab"

    ```python title="two"
    async def double(n):
        return 2 * n

    y = await double(x)
    ```

<!-- no-run: it never ends -->
```python no-run
while True: ...
```

````markdown
```python
raise SystemExit
```
````
"""


def test_blocks_share_names_and_may_await() -> None:
    blocks = python_blocks(PAGE)
    assert [block.runs for block in blocks] == [True, True, False]
    assert run_blocks(blocks, Path("page.md"))["y"] == 2


def test_a_failing_block_names_the_line_of_its_page() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run_blocks(python_blocks("# Title\n\n```python\nok = 1\n1 / 0\n```\n"), Path("page.md"))
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno) == ("page.md", 5)


def test_what_a_block_prints_is_what_the_page_shows() -> None:
    page = '```python\nprint("a b", 17)\n```\n\n```text title="Output"\na b ...\n```\n'
    run_blocks(python_blocks(page), Path("page.md"))
    with pytest.raises(AssertionError, match=r"page.md:2 prints\na b 17\n\nbut the page shows\nb a"):
        run_blocks(python_blocks(page.replace("a b ...", "b a")), Path("page.md"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('```text title="Output"\nx\n```\n', "line 1: this output follows no Python block"),
        ('```python\nx\n```\nwords\n```text title="Output"\nx\n```\n', "line 5: this output follows no Python block"),
        ("```python no-run\nx\n```\n", "line 1: write the reason above it"),
        ("<!-- no-run: -->\n```python no-run\nx\n```\n", "line 2: write the reason above it"),
        ("```python\nx\n", "line 1: this fence is never closed"),
    ],
)
def test_a_block_that_could_hide_from_the_test_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        python_blocks(text)
