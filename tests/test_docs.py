"""The docs name every strategy and every document that they link to, and their Python runs."""

from __future__ import annotations

import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser
from trl import GRPOConfig

from gdro.cli.explain import explanation
from gdro.strategies.names import BUILT_IN
from gdro.tasks import chains

sys.path.insert(0, str(Path(__file__).parent / "integrations/trl"))
import agents

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WITH_PYTHON = [page for page in PAGES if "```python" in page.read_text()]
BLOCKS = Sybil([PythonCodeBlockParser()])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_functions_of_the_maths_page_exist() -> None:
    named = re.findall(r"`(gdro(?:\.\w+)+)`", (ROOT / "docs/maths.md").read_text())
    assert len(named) > 20
    for name in named:
        assert callable(pkgutil.resolve_name(name)), name


def test_the_home_page_links_every_page_of_the_site() -> None:
    home, nav = (ROOT / "docs/index.md").read_text(), (ROOT / "mkdocs.yml").read_text()
    pages = re.findall(r"^  - [\w ]+: (\w+\.md)$", nav, re.MULTILINE)
    assert sorted(pages) == sorted(page.name for page in (ROOT / "docs").glob("*.md"))
    assert [page for page in pages[1:] if f"]({page})" not in home] == []


@pytest.mark.parametrize("page", ["api", "changelog"])
def test_a_page_that_the_site_fills_says_so(page: str) -> None:
    raw = (ROOT / f"docs/{page}.md").read_text()
    assert "`make site`" in raw.split("\n\n::: ")[0] and (":::" in raw) == (page == "api")


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("prompt-gdro", "q(b) = (1 - gamma) omega(b) / sum omega + gamma / B"),
        ("rollout-gdro", "sum_i n_i = n_bar P and n_min <= n_i <= n_max"),
        ("rollout-gdro", "E[(1 - p) (1 - (1 - p)^n)]"),
    ],
)
def test_both_adversaries_are_explained_with_their_formulas(name: str, formula: str) -> None:
    assert f"{formula} " in explanation(name)


@pytest.mark.parametrize("name", sorted(set(BUILT_IN) - {"joint"}))
def test_every_strategy_is_in_the_guide(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/strategies.md").read_text()


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the reader of a page has already: a script that trains with GRPO."""
    folder = tmp_path_factory.mktemp("given")
    task = chains.load(train_size=64, heldout_size=8)
    task.model.save_pretrained(folder / "model")
    task.tokenizer.save_pretrained(folder / "model")
    config = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=16,
        num_generations=4,
        max_completion_length=6,
        use_cpu=True,
        bf16=False,
        report_to="none",
    )
    agents.model("game").save_pretrained(folder / "tool_model")
    agents.tokenizer(agents.GUESS).save_pretrained(folder / "tool_model")
    data = task.train.map(lambda row: {"subject_level": f"chains {row['length']}"})
    models = {name: str(folder / name) for name in ("model", "tool_model")}
    return {**models, "reward": chains.exact_match, "config": config, "data": data}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda p: p.name)
def test_python_on_a_page_runs(
    page: Path, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = BLOCKS.parse(page)
    document.namespace.update(given)
    examples = list(document)
    assert len(examples) == page.read_text().count("```python")
    for example in examples:
        example.evaluate()


PROMISES = ("SECURITY.md", "docs/reliability.md")
_NAMED = re.compile(r"`(?:pytest |python )?((?:tests/[\w/.]+(?:::\w+)?[, ]*)+)[^`]*`")


def promises(text: str) -> list[str]:
    """Rows of tables without their heads, and items of lists, each on one line."""
    rows = [
        row for head in re.split(r"\n\|[-|]+\|\n", text)[1:] for row in head.split("\n\n")[0].split("\n")
    ]
    items = re.findall(r"^- .*(?:\n  .*)*", text, re.MULTILINE)
    return [" ".join(promise.split()) for promise in [*rows, *items]]


def named_tests(text: str) -> list[str]:
    """Every test file, folder or function that a text names."""
    return [name for names in _NAMED.findall(text) for name in re.split(r"[, ]+", names) if name]


def absent(names: list[str]) -> list[str]:
    """Those of the names that are no file, or no test in their file."""
    found = [(name, *name.partition("::")[::2]) for name in names]
    return [
        name
        for name, file, test in found
        if not (ROOT / file).exists() or (test and f"\ndef {test}(" not in (ROOT / file).read_text())
    ]


@pytest.mark.parametrize("page", PROMISES)
def test_every_promise_names_a_test_and_every_test_named_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    assert len(promises(text)) > 15 and len(named_tests(text)) > 25
    assert absent(named_tests(text)) == []
    # A promise that no test can hold, as it needs the network, names the workflow that does.
    holds = [named_tests(promise) or "`.github/workflows/" in promise for promise in promises(text)]
    assert [promise for promise, held in zip(promises(text), holds, strict=True) if not held] == []
    shortened = re.findall(r"`(?:pytest )?(\w+\.py)`", text)
    assert [name for name in shortened if name.startswith("test_")] == [], "name the folder too"


def test_a_test_that_is_gone_and_a_promise_without_one_are_found() -> None:
    row = "| z | `pytest tests/gone.py tests/test_docs.py::test_gone` |"
    text = f"| a | b |\n|---|---|\n| x | y |\n{row}\n\n- one\n  two\n"
    assert promises(text) == ["| x | y |", row, "- one two"]
    gone = ["tests/gone.py", "tests/test_docs.py::test_gone"]
    assert named_tests(text) == absent(named_tests(text)) == gone
    assert absent(["tests/test_docs.py::absent", "tests"]) == []
