"""The command line. Each command is one call into the rooms; nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nas import completion
from nas.commands_data import register as register_data
from nas.commands_look import register
from nas.commands_train import finetune, train_supernet
from nas.options import (
    EXIT_INTERRUPTED,
    Config,
    DryRun,
    Json,
    License,
    PrintConfig,
    Quiet,
    RunDir,
    Seed,
    command_line,
    in_earnest,
    print_json,
    printed,
    resources,
    run_at,
)
from nas.wording import explain, refuse_empty, usage
from search_spaces.errors import UserError, presentable

app = typer.Typer(
    name="nas",
    help="Train one supernet, search it for every device, ship quantized subnets.",
    epilog="Flags can also stand in a file (--config) or in the environment: NAS_SEARCH_TARGET is search --target.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # with it, help would load parsers of Markdown and of source code: half of its time
    context_settings={"auto_envvar_prefix": "NAS"},
)

_BadUsage: type[Exception] = typer.BadParameter.mro()[1]  # click's UsageError, which newer typer carries inside


app.command("train-supernet", short_help="Train a once-for-all supernet; the same command resumes it.")(train_supernet)


@app.command(short_help="Find the measured Pareto front for one target or several.")
def search(
    ctx: typer.Context,
    target: Annotated[
        str,
        typer.Option(
            help="Device; see: nas targets. Or a target file. Several, by commas: a front for each.",
            autocompletion=completion.targets,
        ),
    ] = "cortex-a72",
    run: RunDir = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Default: the target's. Several, as fp32,int8,w4a8, or mixed: searched for every stage.",
            show_default=False,
        ),
    ] = None,
    measurements: Annotated[int, typer.Option(min=4, help="Subnets to measure for a target, baselines apart.")] = 40,
    objectives: Annotated[
        str, typer.Option(help="Two to four of accuracy, latency, latency:TARGET, size, macs, memory.")
    ] = "accuracy,latency,size",
    compare: Annotated[
        str, typer.Option(help="Baselines at as many measurements: random, uniform, nsga2, or none.")
    ] = "random",
    max_latency: Annotated[float | None, typer.Option(min=0.0, help="ms", show_default=False)] = None,
    max_latency_on: Annotated[
        list[str] | None, typer.Option(help="TARGET=ms: on another device. May be repeated.", show_default=False)
    ] = None,
    max_size: Annotated[float | None, typer.Option(min=0.0, help="MB of weights", show_default=False)] = None,
    max_macs: Annotated[float | None, typer.Option(min=0.0, help="millions", show_default=False)] = None,
    max_memory: Annotated[
        float | None, typer.Option(min=0.0, help="kB of activations at the worst moment", show_default=False)
    ] = None,
    calibration_images: Annotated[int, typer.Option(min=2, help="Images that a subnet is calibrated on.")] = 256,
    algorithm: Annotated[
        str,
        typer.Option(help="How predictions are searched: archive; pymoo's nsga2, nsga3, smsemoa, agemoea, agemoea2."),
    ] = "archive",
    predictor: Annotated[
        str, typer.Option(help="Of accuracy: gp, boosting, mlp; auto: by cross-validation on the measurements.")
    ] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Candidates chosen at once.")] = 6,
    time: Annotated[
        float | None, typer.Option(help="Seconds after which no batch is begun.", show_default=False)
    ] = None,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop once so many measurements gain less than 0.1 % hypervolume; 0: never.")
    ] = 0,
    storage: Annotated[
        str | None,
        typer.Option(help="URL of a database that workers share. Default: the run directory.", show_default=False),
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Find the measured Pareto front of accuracy, latency and size (or other objectives) for a target."""
    if printed(ctx, print_config):
        return
    from nas.display import OUT, SearchProgress, following, print_search
    from nas.objectives import Bounds, parse_bounds_elsewhere
    from nas.search_config import SearchConfig, parse_targets
    from nas.workflow import run_search

    resources("cpu", 0)
    bounds = Bounds(
        latency_ms=max_latency,
        size_bytes=max_size and max_size * 1e6,
        macs=max_macs and max_macs * 1e6,
        memory_bytes=max_memory and max_memory * 1e3,
        elsewhere=parse_bounds_elsewhere(max_latency_on or []),
    )
    directory = run_at(run)
    results = []
    for name in parse_targets(target):
        settings = SearchConfig(
            target=name,
            precision=precision or "",
            measurements=measurements,
            bounds=bounds,
            seed=seed,
            calibration_images=calibration_images,
            algorithm=algorithm,
            predictor=predictor,
            batch=batch,
            seconds=time,
            patience=patience,
            objectives=objectives,
            compare=compare,
        )
        with SearchProgress(quiet or as_json) as progress:
            results.append(run_search(directory, settings, progress, dry_run, storage))
        if dry_run and not as_json:
            OUT.print(results[-1]["summary"], soft_wrap=True, highlight=False)
        elif not as_json:
            print_search(results[-1])
    if as_json:
        print_json(results if len(results) > 1 else results[0])
    else:
        following(in_earnest() if dry_run else f"nas export --run {directory.path} --target {target}")


@app.command(short_help="Write a subnet as a timm model and as files that run.")
def export(
    ctx: typer.Context,
    candidate: Annotated[
        str,
        typer.Option(help="Id from the front, or best, fastest, smallest, all.", autocompletion=completion.candidates),
    ] = "best",
    target: Annotated[
        str | None, typer.Option(help="Whose front. Default: the last search.", autocompletion=completion.targets)
    ] = None,
    run: RunDir = None,
    out: Annotated[Path | None, typer.Option(help="Folder. Default: <run>/export/<target>-<id>.")] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="onnx,executorch or one. Default: the target's.", show_default=False)
    ] = None,
    license: License = None,
    quiet: Quiet = False,
    as_json: Json = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Write a subnet as a plain timm model and as files that their runtimes ran on the test split."""
    if printed(ctx, print_config):
        return
    from nas.display import OUT, following, percent
    from nas.workflow import run_export

    resources("cpu", 0)
    directory = run_at(run)
    written = run_export(directory, target, candidate, out, formats, license)
    if as_json:
        print_json([{"path": str(path), **facts} for path, facts in written])
        return
    for path, facts in written:
        OUT.print(f"exported: {path}", soft_wrap=True, highlight=False)
        for result in facts["results"]:
            OUT.print(f"  {result['what']:<20} {result['split']:<7} {percent(result)} %", highlight=False)
    if not quiet:
        path, facts = written[-1]
        file = str(path / list(facts["files"])[-1])
        following(command_line(["nas", "evaluate", file, "--run", str(directory.path)]))


app.command(short_help="Train one subnet further; kept if that made it better.")(finetune)


@app.command(short_help="Accuracy of an exported file, a candidate, an architecture.")
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="Exported folder or file, candidate id, or architecture JSON.", autocompletion=completion.candidates
        ),
    ] = "best",
    split: Annotated[str, typer.Option(help="search, test or train.")] = "test",
    precision: Annotated[
        str, typer.Option(help="Of an architecture: int8, fp32, or a policy, as int8,blocks.1=w4a8.")
    ] = "int8",
    calibration_images: Annotated[
        int | None, typer.Option(min=2, help="Default: the search's, or 256.", show_default=False)
    ] = None,
    run: RunDir = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Accuracy of an exported file, a candidate of a front, or any architecture of the space."""
    from nas.display import OUT, following, percent
    from nas.workflow import run_evaluate

    resources("cpu", 0)
    directory = run_at(run, model)
    result = run_evaluate(directory, model, split, precision, calibration_images)
    if as_json:
        print_json(result)
    else:
        OUT.print(f"{result['what']}  {split}  {percent(result)} %  ({result['images']} images)", soft_wrap=True)
        if "latency_ms" in result:
            OUT.print(f"latency on this machine, one thread: {result['latency_ms']:.3f} ms", highlight=False)
        following(command_line(["nas", "search", "--run", str(directory.path), "--target", "host"]))


@app.command(short_help="Latency, size, MACs and memory, without running anything.")
def estimate(
    model: Annotated[
        str,
        typer.Argument(
            help="timm model, candidate id, best, exported folder, or architecture JSON.",
            autocompletion=completion.candidates,
        ),
    ] = "best",
    target: Annotated[
        str | None,
        typer.Option(help="Device or target file. Default: the candidate's.", autocompletion=completion.targets),
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Image side. Default: the model's.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="As int8, or int8,blocks.1=w4a8. Default: the candidate's, or the target's.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Show every operator.")] = False,
    classes: Annotated[int | None, typer.Option(min=1, help="Default: the model's.")] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="Default: the model's.")] = None,
    run: RunDir = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Latency, size, MACs and memory of a model on a target, without running it."""
    from nas.display import following
    from nas.estimate import estimate as work
    from nas.listing import print_estimate

    facts = work(model, target, resolution, precision, lambda: run_at(run), classes, in_chans, layers)
    if as_json:
        print_json(facts)
    else:
        print_estimate(facts)
        own = [] if run is None else ["--run", str(run)]
        following(command_line(["nas", "search", *own, "--target", target or facts["target"]]))


@app.command(short_help="Measure latencies, here or on a board: a target file.")
def profile(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(help="host: this machine. Others: --bundle, then --import.")] = "host",
    bundle: Annotated[
        Path | None, typer.Option(help="Write a folder to run on another device.", show_default=False)
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--import", help="results.json that came back from it.", show_default=False)
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Whose subnets to measure. Default: the run's.", show_default=False, autocompletion=completion.spaces
        ),
    ] = None,
    run: RunDir = None,
    networks: Annotated[int, typer.Option(help="Subnets chosen to fit.")] = 24,
    held_out: Annotated[int, typer.Option(help="Random subnets more that judge the fit.")] = 12,
    precision: Annotated[str, typer.Option(help="fp32, int8 or both.")] = "both",
    threads: Annotated[int, typer.Option(min=1, help="Of one inference.")] = 1,
    uint8: Annotated[bool, typer.Option("--uint8", help="The bundle is for x86, not ARM.")] = False,
    classes: Annotated[int | None, typer.Option(min=1, help="Default: the run's.", show_default=False)] = None,
    in_chans: Annotated[int | None, typer.Option(min=1, help="Default: the run's.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="Of the target. Default: the file's.", show_default=False)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Target file. Default: host.toml, or <name>.toml.", show_default=False)
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Measure latencies on this machine, or on your board, and write a target file from them."""
    if printed(ctx, print_config):
        return
    from nas.display import OUT, ProfileProgress, following, print_profile
    from nas.profile import Request, profile_command

    resources("cpu", 0)
    request = Request(
        device, bundle, results, space, None if run is None else run_at(run), networks, held_out, precision, threads,
        uint8, classes, in_chans, name, out, seed,
    )  # fmt: skip
    with ProfileProgress(quiet or as_json or dry_run) as progress:
        result = profile_command(request, progress, dry_run)
    if as_json:
        print_json(result)
        return
    if "summary" in result:
        OUT.print(result["summary"], soft_wrap=True, highlight=False)
    else:
        print_profile(result)
    following(result["next"])


@app.command()
def spaces(
    name: Annotated[
        str | None,
        typer.Argument(help="Show one space with its genes.", show_default=False, autocompletion=completion.spaces),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the search spaces."""
    from nas.display import following
    from nas.listing import describe_space, print_space, print_spaces, space_row
    from search_spaces import PRESETS, get_space

    if name is not None:
        facts = describe_space(get_space(name))
        print_json(facts) if as_json else print_space(facts)
    else:
        rows = [space_row(space) for space in PRESETS.values()]
        print_json(rows) if as_json else print_spaces(rows)
    if not as_json:
        following(f"nas train-supernet --space {name or 'mbv3-tiny'}")


@app.command()
def targets(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Show one target, or a target file, in full.", show_default=False, autocompletion=completion.targets
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the targets, and how far to trust their latencies."""
    from nas.display import following
    from nas.listing import describe_target, print_target, print_targets, target_row
    from predictors.target import load_target
    from predictors.target_card import available_targets, shipped_card

    if name is not None:
        facts = describe_target(load_target(name))
        print_json(facts) if as_json else print_target(facts)
    else:
        rows = [target_row(shipped_card(each)) for each in available_targets()]
        print_json(rows) if as_json else print_targets(rows)
    if not as_json:
        following(f"nas search --target {name or 'cortex-a72'}")


register(app)
register_data(app)


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 error, 2 usage, 3 no feasible candidate, 130 interrupted."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        refuse_empty(arguments)
        code = _command()(arguments or ["--help"], prog_name="nas", standalone_mode=False, obj=main)
    except _BadUsage as error:
        _fail(error, debug, usage(error), 2)
    except UserError as error:
        _fail(error, debug, str(error), error.exit_code)
    except OSError as error:
        _fail(error, debug, explain(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
    except Exception as error:
        _fail(error, debug, f"unexpected {type(error).__name__}: {error}\nthis is a bug; --debug shows where", 1)
    if code == EXIT_INTERRUPTED:  # typer turns Ctrl-C into this code, with nothing said
        typer.echo(f"stopped; what was done is saved. To resume: {command_line(['nas', *arguments])}", err=True)
    _exit(int(code or 0))


def _command() -> Any:
    """The commands; help leaves out the names of environment variables, which 80 columns cut off in the middle."""
    found: list[Any] = [typer.main.get_command(app)]
    for command in found:
        found += getattr(command, "commands", {}).values()
        for parameter in command.params:
            parameter.show_envvar = False
    return found[0]


def _fail(error: Exception, debug: bool, text: str, code: int) -> None:
    if debug:
        raise error
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    typer.echo("error: " if plain else typer.style("error: ", fg="red"), err=True, nl=False)
    typer.echo(presentable(text), err=True)
    _exit(code)


def _exit(code: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    raise SystemExit(code)


if __name__ == "__main__":
    main()
