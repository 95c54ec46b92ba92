"""One self-contained HTML page: no network, no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from gdro.report.figures import Drawn, all_figures
from gdro.report.load import load_runs

_CSS = """
:root{color-scheme:light dark;--text:#1b1b1f;--soft:#60606b;--back:#fff;--line:#e3e3e8}
@media(prefers-color-scheme:dark){:root{--text:#e8e8ee;--soft:#a5a5b2;--back:#16161a;--line:#33333b}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--text);background:var(--back);
max-width:1180px;margin:2.5rem auto;padding:0 1.2rem}
h1{font-size:1.9rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2.4rem 0 .2rem}
p{margin:.2rem 0 .8rem;color:var(--soft);max-width:75ch}
img{width:100%;background:#fff;border:1px solid var(--line);border-radius:8px}
table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .9rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}
"""


def write_report(directories: Sequence[Path], output: Path, png_dir: Path | None = None) -> Path:
    """Draw runs side by side in one page.

    Args:
        directories: Run folders (a trainer's output_dir, its `gdro` folder, or a recipe's folder).
        output: The HTML file to write.
        png_dir: Where to write each figure as PNG too.

    Returns:
        `output`.

    Raises:
        ReportError: A folder holds no run log.
    """
    runs, summary = load_runs(directories)
    title = summary["recipe"] if summary else ", ".join(run.name for run in runs)
    return write_page(title, _intro(runs, summary), all_figures(runs, summary), output, png_dir)


def write_page(
    title: str, intro: str, drawn: Sequence[Drawn], output: Path, png_dir: Path | None = None
) -> Path:
    """Write one page.

    Args:
        title: Its title.
        intro: HTML that comes before the figures.
        drawn: The figures.
        output: The HTML file to write.
        png_dir: Where to write each figure as PNG too.

    Returns:
        `output`.
    """
    pictures = {d.name: _png(d) for d in drawn}
    if png_dir is not None:
        png_dir.mkdir(parents=True, exist_ok=True)
        for name, data in pictures.items():
            (png_dir / f"{name}.png").write_bytes(data)
    body = [f"<h1>gdro: {escape(title)}</h1>", intro, *(_section(d, pictures[d.name]) for d in drawn)]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>gdro: {escape(title)}'
        f'</title><meta name="viewport" content="width=device-width"><style>{_CSS}</style></head>'
        f"<body>{''.join(body)}</body></html>"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    return output


def html_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of texts."""
    lines = ["".join(f"<th>{escape(h)}</th>" for h in heads)]
    lines += ["".join(f"<td>{escape(c)}</td>" for c in row) for row in rows]
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _png(drawn: Drawn) -> bytes:
    buffer = io.BytesIO()
    drawn.figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _section(drawn: Drawn, picture: bytes) -> str:
    data = base64.b64encode(picture).decode()
    return (
        f'<h2 id="{drawn.name}">{escape(drawn.title)}</h2><p>{escape(drawn.caption)}</p>'
        f'<img alt="{escape(drawn.title)}" src="data:image/png;base64,{data}">'
    )


def _intro(runs: Sequence[Any], summary: dict[str, Any] | None) -> str:
    steps = ", ".join(f"{escape(r.name)} {r.num_steps:,} steps" for r in runs)
    if summary is None:
        return f"<p>{steps}.</p>"
    seed = escape(str(summary["seed"]))
    return (
        f"<p>{steps}; seed {seed}, the same start and the same number of rollouts for every arm. One "
        f"seed shows the mechanism, not the effect.</p>{_table(summary)}"
    )


def _table(summary: dict[str, Any]) -> str:
    rows = {"base model": summary["base"], **summary["arms"]}
    metric = next(k for k in summary["base"] if k.startswith("pass@"))
    mean = metric.replace("pass", "mean")
    slices = [s["name"] for s in summary["base"]["slices"]]
    spent = ("rollouts", "tokens", "seconds")
    heads = ["arm", mean, metric, "95% interval", *(f"{metric}: {s}" for s in slices), *spent]
    lines: list[list[str]] = []
    for name, row in rows.items():
        found = {s["name"]: s[metric] for s in row["slices"]}
        low, high = row[f"ci_{metric}"]
        cells = [name, f"{row[mean]:.3f}", f"{row[metric]:.3f}", f"{low:.3f} to {high:.3f}"]
        cells += [f"{found[s]:.3f}" if s in found else "" for s in slices]
        cells += [f"{row[k]:,.0f}" if k in row else "" for k in spent]
        lines.append(cells)
    return html_table(heads, lines)
