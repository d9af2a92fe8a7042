"""`giga compare`: fits of the same data side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from giga.cli.base import app, console, edge
from giga.jobs.compare import cautions, difference, read_compared


@app.command()
@edge
def compare(runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")]) -> None:
    """Compare fits of the same data: evidence, BIC, chi2, with errors and differences from the best."""
    rows = read_compared(runs)
    best, least = max(rows, key=lambda row: row.log_evidence), min(row.bic for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold", min_width=10)
    for title in ("ln Z", "d ln Z", "BIC", "d BIC", "red. chi2", "n", "p"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: -row.log_evidence):
        change, error = difference(row, best)
        table.add_row(escape(str(row.run)), f"{row.log_evidence:.2f} ± {row.error:.2f}",
                      "0" if row is best else f"{change:.2f} ± {error:.2f}", f"{row.bic:.1f}",
                      f"{row.bic - least:.1f}", f"{row.reduced_chi2:.4f}", str(row.n_free),
                      row.p_value or "-")
    console.print(table)
    console.print("ln Z: log-evidence; n: sampled and solved parameters; p: posterior predictive p-value of chi2",
                  highlight=False)
    for text in cautions(rows):
        console.print(f"[yellow]note:[/] {escape(text)}", highlight=False)
