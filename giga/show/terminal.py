"""What a finished fit says on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from giga.inference.result import Result


def inside(result: Result, name: str) -> bool:
    """Whether the truth lies inside the central 99% interval."""
    truth = (result.truth or {})[name]
    values = result.samples[name]
    return bool(((values < truth).mean() > 0.005) and ((values > truth).mean() > 0.005))


def show_result(result: Result, out: Path, console: Console) -> None:
    """Print the parameters with the truth if known, chi2, what went wrong, and the times."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("parameter", no_wrap=True)
    for title in (*(["truth"] if result.truth else []), "mean", "sd", "R-hat", "ESS", "tail"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, values in result.samples.items():
        row = result.diagnostics[name]
        truth = []
        if result.truth:
            mark = "" if inside(result, name) else "[red]![/]"  # outside the 99% interval
            truth = [f"{mark}{result.truth[name]:.4g}"]
        colour = "red" if row["rhat"] > 1.01 else "green"
        table.add_row(name, *truth, f"{values.mean():.4g}", f"{values.std():.1g}", f"[{colour}]{row['rhat']:.3f}[/]",
                      f"{row['ess_bulk']:.0f}", f"{row['ess_tail']:.0f}")
    console.print(table)
    hmc, found = result.info["hmc"], result.info["map"]
    sampled = len(result.names)
    console.print(f"chi2 {result.chi2:.1f} for {result.n_pixels} pixels, {sampled} sampled and "
                  f"{result.n_free - sampled} solved parameters: "
                  f"reduced {result.reduced_chi2:.4f}")
    console.print(f"dead lanes {found['dead_lanes']} of {found['starts']}, dead chains {hmc['dead_chains']} of "
                  f"{hmc['chains']}, divergences {hmc['divergences']}, acceptance {hmc['acceptance']:.2f}")
    if "modes_sentence" in found:
        console.print(f"modes: {found['modes_sentence']}", highlight=False)
    if "evidence" in result.info:
        evidence = result.info["evidence"]
        if "failed" in evidence:
            console.print(f"[bold red]no evidence:[/] {escape(evidence['failed'])}")
        else:
            console.print(f"log evidence {evidence['log_evidence']:.2f} +- {evidence['error']:.2f} "
                          f"({evidence['method']})")
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.timings_s.items())
    console.print(f"time: {times}")
    if not hmc["converged"]:
        console.print(f"[bold red]not converged:[/] worst R-hat {hmc['worst_rhat']:.3f}, smallest ESS "
                      f"{hmc['smallest_ess_bulk']:.0f} and {hmc['smallest_ess_tail']:.0f} in the tails, after "
                      f"{hmc['iterations']} iterations of {hmc['chains']} chains")
    console.print(f"report: {escape(str(out / 'report.html'))}")
