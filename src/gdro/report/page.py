"""One self-contained HTML page: no network, opens from disk."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from gdro.common.files import write_text
from gdro.report.explorer import explorer
from gdro.report.figures import all_figures
from gdro.report.figures.history import history_spec
from gdro.report.figures.learning import metric_of
from gdro.report.html import asset, contents, document, figure_html, html_table
from gdro.report.load import LoggedRun, ReportError, load_runs
from gdro.report.pack import packed, packed_text
from gdro.report.panels import Figure
from gdro.report.render import compiled, vega_runtime, write_png
from gdro.report.verdicts import verdicts
from gdro.report.verdicts.html import verdicts_html


def write_report(directories: Sequence[Path], output: Path, png_dir: Path | None = None) -> Path:
    """Draw runs side by side in one page.

    Args:
        directories: Run folders (a trainer's output_dir, its `gdro` folder, or a recipe's folder).
        output: The HTML file to write.
        png_dir: Folder for each figure as PNG too.

    Returns:
        `output`.

    Raises:
        ReportError: A folder holds no run log.
    """
    runs, summary = load_runs(directories)
    page, figures = report_html(runs, summary)
    return _written(page, figures, output, png_dir)


def report_html(
    runs: Sequence[LoggedRun], summary: dict[str, Any] | None, live: str = ""
) -> tuple[str, list[Figure]]:
    """The page of some runs, and its figures; `live` is HTML that makes the page follow a log."""
    title = summary["recipe"] if summary else ", ".join(run.name for run in runs)
    figures = all_figures(runs, summary)
    explored = explorer(runs)
    blobs = {}
    if explored is not None:
        data, arrays = explored
        spec = history_spec(int(str(data["bins"])))
        blobs["explorer"] = packed({**data, "spec": compiled(spec)}, arrays)
    opening = verdicts_html(verdicts(runs), {figure.name for figure in figures})
    intro = f"{live}{_intro(runs, summary)}{opening}"
    return page_html(title, intro, figures, blobs, ["live.js"] if live else []), figures


def write_page(
    title: str,
    intro: str,
    figures: Sequence[Figure],
    output: Path,
    png_dir: Path | None = None,
    closing: str = "",
) -> Path:
    """Write one page, with HTML before and after the figures, and each figure as PNG if asked."""
    return _written(page_html(title, intro, figures, closing=closing), figures, output, png_dir)


def page_html(
    title: str,
    intro: str,
    figures: Sequence[Figure],
    blobs: dict[str, str] | None = None,
    scripts: Sequence[str] = (),
    closing: str = "",
) -> str:
    """A page as text; `blobs` may hold the explorer's data, `scripts` further assets."""
    blobs = dict(blobs or {})
    sections, panels = [], []
    for figure in figures:
        sections.append(figure_html(figure, len(panels)))
        panels += [
            {"title": p.title, "spec": compiled(p), "columns": p.columns, "heads": p.heads}
            for p in figure.panels
        ]
    entries = [(figure.name, figure.title) for figure in figures]
    if "explorer" in blobs:
        entries.append(("prompts", "Prompt explorer"))
        sections.append(asset("explorer.html"))
    main = f"<h1>{escape(title)}</h1>{intro}{contents(entries)}{''.join(sections)}{closing}"
    blobs["figures"] = packed({"panels": panels})
    blobs["vega"] = packed_text(vega_runtime())
    code = [asset(name) for name in ("pack.js", "figures.js", "explorer.js", *scripts)]
    calls = ["start();", *(["follow();"] if scripts else [])]
    return document(title, main, blobs, [*code, *calls])


def _written(page: str, figures: Sequence[Figure], output: Path, png_dir: Path | None) -> Path:
    try:
        write_text(output, page)
        if png_dir is not None:
            png_dir.mkdir(parents=True, exist_ok=True)
            for figure in figures:
                write_png(figure, png_dir / f"{figure.name}.png")
    except OSError as problem:
        why = problem.strerror or problem
        pictures = "" if png_dir is None else f" or the pictures in {png_dir}"
        raise ReportError(
            f"cannot write {output}{pictures} ({why}); name another place with -o"
        ) from problem
    return output


def _intro(runs: Sequence[LoggedRun], summary: dict[str, Any] | None) -> str:
    heads = ["run", "strategy", "steps", "prompts tried", "rollouts", "tokens", "pass rate, last tenth"]
    table = html_table(heads, [_row(run) for run in runs])
    if summary is None:
        return table
    seed = escape(str(summary["seed"]))
    return (
        f"<p>Seed {seed}, the same start and equal steps for every arm. Rollouts are equal except for "
        "arms that ask for more (dapo, ...): the column has all that were generated. One seed shows "
        f"the mechanism, not the effect.</p>{_evaluated(summary)}{table}"
    )


def _row(run: LoggedRun) -> list[str]:
    late = run.metrics["pass_rate"][-max(1, run.num_steps // 10) :]
    late = late[np.isfinite(late)]
    rate = f"{late.mean():.3f}" if len(late) else "not judged"
    tried = "" if run.visits is None else f"{len(run.visits.keys):,}"
    pool = run.header.get("num_prompts")
    last = {name: float(values[-1]) for name, values in run.ledger.items()}
    tried += f" of {pool:,}" if pool and tried else ""
    tokens = f"{last['tokens']:,.0f}" if last.get("tokens") else "not counted"
    rollouts = f"{last.get('rollouts', 0):,.0f}"
    strategy = str(run.header.get("strategy", ""))
    return [run.name, strategy, f"{run.num_steps:,}", tried, rollouts, tokens, rate]


def _evaluated(summary: dict[str, Any]) -> str:
    rows = {"base model": summary["base"], **summary["arms"]}
    metric = metric_of(summary["base"]) or ""
    mean = metric.replace("pass", "mean")
    slices = [s["name"] for s in summary["base"]["slices"]]
    spent = ("rollouts", "tokens", "seconds")
    heads = ["arm", mean, metric, "95% interval", *(f"{metric}: {s}" for s in slices), *spent]
    lines: list[list[str]] = []
    for name, row in rows.items():
        by_slice = {s["name"]: s[metric] for s in row["slices"]}
        low, high = row[f"ci_{metric}"]
        cells = [name, f"{row[mean]:.3f}", f"{row[metric]:.3f}", f"{low:.3f} to {high:.3f}"]
        cells += [f"{by_slice[s]:.3f}" if s in by_slice else "" for s in slices]
        cells += [f"{row[k]:,.0f}" if k in row else "" for k in spent]
        lines.append(cells)
    return html_table(heads, lines)
