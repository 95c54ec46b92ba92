"""Write the outputs of a study: a table, JSON, figures and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from gdro.common.files import write_json, write_text
from gdro.report.page import html_table, write_page
from gdro.study.config import Study
from gdro.study.figures import curves, forests
from gdro.study.results import Record, markdown, summarise, table

_WARNING = (
    "Exploration seeds are for choosing, not for reporting. The best of several arms looks "
    "better here than it is; run the study without --explore for results."
)


@dataclass(frozen=True)
class Published:
    """Files that were written; `results` is None for exploration."""

    page: Path
    table: Path
    results: Path | None


def publish(
    study: Study, records: Sequence[Record], folder: Path, results: Path, explore: bool
) -> Published:
    """Write table, figures and page to the study's folder, and the results of confirmation seeds.

    Args:
        study: The study.
        records: Records of all its runs in one phase, as `run_study` returns them.
        folder: Folder of this phase, for table, figures and page.
        results: Folder for `<study>.json`.
        explore: Whether these are exploration seeds, which never become results.

    Returns:
        Paths of the files that were written.
    """
    summary = summarise(study, records)
    heads, rows = table(summary)
    title = f"{study.name}, exploration" if explore else study.name
    warnings = [*([_WARNING] if explore else []), *summary["warnings"]]
    warned = "".join(f"<p><b>{escape(warning)}</b></p>" for warning in warnings)
    intro = f"<p>{escape(study.description)}</p>{warned}{html_table(heads, rows)}"
    drawn = [*forests(summary), *curves(summary, records)]
    page = write_page(title, intro, drawn, folder / "report.html", folder / "figures")
    text = f"# {title}\n\n{_WARNING if explore else study.description}\n\n{markdown(summary)}"
    write_text(folder / "table.md", text)
    if explore:
        return Published(page, folder / "table.md", None)
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"{study.name}.json"
    write_json(path, summary)
    return Published(page, folder / "table.md", path)
