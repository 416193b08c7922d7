"""``nas doctor``."""

from __future__ import annotations

import typer

from nas.cli.options import Json, print_json


def doctor(as_json: Json = False) -> None:
    """Look at this machine: versions, processors, extras, known traps, disk and memory; each problem with its fix."""
    from nas.cli.console import following, tell
    from nas.store.hints import hint
    from nas.workflows.doctor import as_text, examine

    findings = examine()
    bad = sum(each.state == "problem" for each in findings)
    if as_json:
        print_json(findings)
    else:
        tell(as_text(findings))
        following("fix the problems above, then: nas doctor" if bad else hint("train-supernet"))
    raise typer.Exit(1 if bad else 0)
