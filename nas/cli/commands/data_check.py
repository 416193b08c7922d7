"""``nas data check``."""

from __future__ import annotations

from typing import Annotated

import typer

from nas.cli.options import Config, Json, Layout, Seed, print_json


def data_check(
    source: Annotated[
        str,
        typer.Argument(help="What to check, as --data of train-supernet: 'embedded', a folder, a .tar or a timm name."),
    ] = "embedded",
    data_root: Annotated[
        str | None, typer.Option(help="Folder with the files of a timm name.", show_default=False)
    ] = None,
    layout: Layout = "auto",
    near: Annotated[bool, typer.Option("--near", help="Look for images that look alike, not only for copies.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Decode every image and say what training would get; exit code 1 where images cannot be used."""
    from nas.cli.console import following, tell, warn
    from nas.data.opening import open_dataset
    from nas.data.summary import lines, summarise
    from nas.store.hints import hint

    found = summarise(open_dataset(source, seed, data_root, thorough=True, layout=layout), near)
    if as_json:
        print_json(found)
    else:
        for warning in found.warnings:
            warn(warning)
        for line in lines(found):
            tell(line)
        said = layout if layout != "auto" else None
        if found.usable:
            following(hint("train-supernet", data=source, data_root=data_root, layout=said))
        else:
            following(f"fix or remove these, then: {hint('data check', source, data_root=data_root, layout=said)}")
    raise typer.Exit(0 if found.usable else 1)
