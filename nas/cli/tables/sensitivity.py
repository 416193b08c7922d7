"""Where the accuracy goes, as a table."""

from __future__ import annotations

from nas.cli.console import new_table, percent, say, show
from nas.search.objectives import LATENCY, MACS
from nas.store.sensitivity import Sensitivity


def print_sensitivity(found: Sensitivity) -> None:
    """A row for each smaller choice of each gene, the dearest first."""
    largest = found.largest
    timed = largest.latency_ms is not None
    table = new_table(title="the largest subnet with one gene down, nothing trained")
    names = ("gene", "from", "to", "accuracy %", "lost, points", MACS.header, "saved %", *([LATENCY.header] * timed))
    for name in names:
        table.add_column(name, justify="left" if name == "gene" else "right", no_wrap=True)
    for row in found.rows:
        table.add_row(
            row.gene, f"{row.largest:g}", f"{row.choice:g}", f"{100 * row.accuracy.value:.2f}",
            f"{100 * row.lost:.2f}", MACS.text(row.macs), f"{100 * found.saved(row):.1f}",
            *([] if row.latency_ms is None else [LATENCY.text(row.latency_ms)]),
        )  # fmt: skip
    show(table)
    accuracy = largest.accuracy
    whole = f"{percent(accuracy.value, accuracy.low, accuracy.high)} %, {MACS.text(largest.macs)} {MACS.header}"
    ms = "" if largest.latency_ms is None else f", {LATENCY.text(largest.latency_ms)} ms ({found.target})"
    say(f"the whole: {whole}{ms}")
    say(
        f"{found.images} images of the search split, the same for all: one image is {100 / found.images:.2f} points. "
        f"Batch norm is calibrated for each subnet on {found.calibration_images} images."
    )
