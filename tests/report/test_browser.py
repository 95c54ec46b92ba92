"""The page in a real Chromium: drawn, answering, safe, readable on a phone and in the dark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, chromium
from logs import HOSTILE, ODD, named_run, play
from selenium.webdriver import ActionChains, Keys

from gdro.report import write_report
from gdro.report.diagnose import write_diagnosis
from gdro.report.page import write_page
from gdro.report.serve import ReportServer
from gdro.study.figures import forests
from serving import running

RESULTS = Path(__file__).parents[2] / "results/headline.json"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report([folder], tmp_path_factory.mktemp("report") / "r.html").as_uri()


def hover(page: Page, selector: str) -> dict[str, str]:
    """What the tooltip says of a mark, by name."""
    mark = page.all(selector)[len(page.all(selector)) // 2]
    page.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
    ActionChains(page.driver).move_to_element(mark).perform()
    page.wait("return !document.getElementById('tooltip').hidden")
    return page.run(
        "return Object.fromEntries([...document.querySelectorAll('#tooltip dt')]"
        ".map((d) => [d.textContent, d.nextElementSibling.textContent]))"
    )


def test_every_figure_is_drawn_without_a_word_on_the_console(page: Page, report: str) -> None:
    page.open(report)
    page.draw_all()
    drawn = page.marks()
    assert len(drawn) == len(page.all("[data-panel]")) > 40
    assert {name: count for name, count in drawn.items() if count < 1} == {}
    assert page.complaints() == []
    # Nothing came over a network, and nothing jumped while the figures came.
    assert page.run("return performance.getEntriesByType('resource').length") == 0
    assert page.run("return window.shifted") < 0.01
    names = page.run("return [...document.querySelectorAll('[data-panel]')].map((p) => p.ariaLabel)")
    assert all(names)


def test_tooltips_answer_with_units(page: Page, report: str) -> None:
    page.open(report)
    page.draw_all()
    cell = hover(page, "#rollouts .mark-rect path")
    assert cell.keys() == {"bin", "from step", "to step", "rollouts per prompt"}
    assert 2 <= float(cell["rollouts per prompt"]) <= 12
    point = hover(page, "#learning .mark-symbol path")
    assert point["line"] in ("grpo", "both", "rollout-gdro") and 0 <= float(point["pass rate"]) <= 1
    bar = hover(page, "#heldout .mark-rect path")
    assert bar["95% low"] == "0.332" and bar["95% high"] == "0.532"


def test_hostile_texts_stay_text_and_the_explorer_finds_them(page: Page, report: str) -> None:
    page.open(report)
    rows = "#prompts tbody > tr:not(.history)"
    assert len(page.all(rows)) == 25
    search = page.one("#search")
    search.send_keys("what 17 +")
    page.wait(f"return document.querySelectorAll('{rows}').length < 25")
    texts = [row.text for row in page.all(f"{rows} td:first-child")]
    assert any(text.startswith(f"What is 17 + 17? </script>{HOSTILE}"[:79]) for text in texts)
    status = page.one("#prompts [role=status]").text
    assert status.startswith(f"{len(texts)} of 200 prompts")
    page.all(f"{rows} button")[0].send_keys(Keys.ENTER)
    page.wait("return document.querySelectorAll('#prompts .history .mark-symbol path').length > 0")
    opened = page.one("#prompts .history")
    assert HOSTILE in opened.text  # the key, whole
    answer = page.one("#prompts .history .answer")
    assert answer.text.endswith(f"<img src=x onerror='window.hacked = 2'>{HOSTILE}")
    assert not answer.find_elements("css selector", "*")
    visits = page.all("#prompts .history tbody tr")
    assert visits and page.run("return document.activeElement.dataset.key") is not None
    assert page.run("return window.hacked") is None
    assert page.run("return document.title").endswith(HOSTILE)
    assert page.complaints() == []


def test_names_that_javascript_knows_are_names(page: Page, tmp_path: Path) -> None:
    drawn = {}
    for kind, names in (("plain", [f"arm-{i}" for i in range(len(ODD))]), ("odd", ODD)):
        run = named_run(tmp_path / kind, names)
        page.open(write_report([run], tmp_path / f"{kind}.html").as_uri())
        page.draw_all()
        drawn[kind] = page.marks()
        page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        page.wait("return document.querySelectorAll('details:not([data-filled])').length === 0")
        text = page.run("return document.querySelector('main').textContent")
        assert [name for name in names if text.count(name) < 5] == []
        labels = page.run("return [...document.querySelectorAll('svg text')].map((t) => t.textContent)")
        drawn[kind + "/labels"] = len([label for label in labels if label.strip()])
        assert page.complaints() == []
        assert [option.text for option in page.all("#prompts option")] == [
            name.replace("\u2028", " ") for name in sorted(names)
        ]
    assert drawn["odd"] == drawn["plain"]
    assert drawn["odd/labels"] == drawn["plain/labels"]


def test_explorer_sorts_pages_and_changes_the_run(page: Page, report: str) -> None:
    page.open(report)
    page.one("[data-sort=rate]").click()
    rates = [float(cell.text) for cell in page.all("#prompts tbody tr td:nth-child(5)")]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) >= 1
    page.one("[data-sort=rate]").send_keys(Keys.ENTER)
    rates = [float(cell.text) for cell in page.all("#prompts tbody tr td:nth-child(5)")]
    assert rates == sorted(rates)
    page.one("[data-go='1']").click()
    assert "page 2 of" in page.one("#prompts [role=status]").text
    spent = {}
    for option in page.all("#prompts option"):
        option.click()
        page.one("[data-sort=rollouts]")
        spent[option.text] = page.one("#prompts tbody tr:first-child td:nth-child(3)").text
    assert spent.keys() == {"grpo", "both", "rollout-gdro"}


def test_keyboard_alone_reaches_links_tables_and_buttons(page: Page, report: str) -> None:
    page.open(report)
    seen = []
    for _ in range(60):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        seen.append(page.run("const e = document.activeElement; return e.tagName + ':' + e.textContent"))
        if seen[-1].startswith("SUMMARY"):
            break
    assert seen[0] == "A:Skip to the report" and seen[-1].startswith("SUMMARY:Numbers")
    ActionChains(page.driver).send_keys(Keys.ENTER).perform()
    page.wait("return document.querySelectorAll('details[open] tbody tr').length > 100")
    heads = page.run(
        "return [...document.querySelectorAll('details[open] th')].map((h) => h.textContent)"
    )
    assert {"step", "rollouts per prompt", "weight"} <= set(heads)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_phone_and_the_dark(page: Page, report: str, dark: bool) -> None:
    page.open(report, width=400, dark=dark)
    page.draw_all()
    assert page.run("return document.documentElement.scrollWidth") == 400
    widths = page.run(
        "return [...document.querySelectorAll('.view > svg, .view svg.marks')].map("
        "(s) => s.getBoundingClientRect().width)"
    )
    assert widths and max(widths) <= 400
    assert min(page.marks().values()) > 0
    ink, ground = (
        page.run(f"return getComputedStyle(document.{where}).{what}")
        for where, what in (("querySelector('.mark-text text')", "fill"), ("body", "backgroundColor"))
    )
    assert (brightness(ink) > brightness(ground)) is dark
    assert abs(brightness(ink) - brightness(ground)) > 90
    assert page.run("return window.shifted") < 0.01


def brightness(colour: str) -> float:
    """Mean of red, green and blue of `rgb(...)`."""
    return sum(map(float, colour[colour.index("(") + 1 : -1].split(",")[:3])) / 3


def test_verdicts_lead_to_their_figures(page: Page, report: str) -> None:
    page.open(report)
    links = page.run("return [...document.querySelectorAll('.verdicts a')].map((a) => a.hash)")
    assert links and all(page.all(f"section{link}") for link in links)


def test_live_page_follows_a_log_from_before_its_first_step(page: Page, tmp_path: Path) -> None:
    server = ReportServer([tmp_path], seconds=0.1)
    with running(server):
        page.open(server.url)
        assert "Waiting for a first step" in page.one("main").text
        play(tmp_path, "rollout-gdro", steps=3)
        page.wait("return document.querySelectorAll('#overview').length === 1")
        page.wait("return document.querySelector('main table').textContent.includes('rollout-gdro3')")
        # To what has the focus: an element that was found may be replaced by the next refresh.
        page.run("document.querySelector('#search').focus()")
        ActionChains(page.driver).send_keys("5 + 5").perform()
        play(tmp_path / "other", "uniform", steps=1)  # not of this run: no change
        grown = tmp_path / "gdro"
        for name in ("groups.jsonl", "steps.jsonl"):
            with (grown / name).open("a") as file:
                file.write(later(grown / name, name))
        page.wait("return document.querySelector('main table').textContent.includes('rollout-gdro4')")
        assert page.one("#search").get_attribute("value") == "5 + 5"
        assert page.run("return document.activeElement.id") == "search"
        page.draw_all()
        assert page.complaints() == []


def later(path: Path, name: str) -> str:
    """The records of the last step once more, under the next ticket."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    last = records[-1]["ticket"]
    return "".join(json.dumps({**r, "ticket": last + 1}) + "\n" for r in records if r["ticket"] == last)


def test_diagnosis_and_study_pages_are_drawn(page: Page, folder: Path, tmp_path: Path) -> None:
    groups = folder / "grpo/gdro/groups.jsonl"
    made = write_diagnosis(groups, tmp_path / "d.html", arms=["uniform", "rollout-gdro"])
    page.open(made.as_uri())
    page.draw_all()
    assert min(page.marks().values()) > 0 and page.complaints() == []
    figures = forests(json.loads(RESULTS.read_text()))
    page.open(write_page("study", "", figures, tmp_path / "s.html").as_uri())
    page.draw_all()
    assert min(page.marks().values()) > 0 and page.complaints() == []
    seen = hover(page, "#forest .mark-symbol path")
    assert {"change of pass@8, %", "change of mean@8, %"} & set(seen)
