"""``nas train-supernet``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import completion
from nas.cli.options import (
    EXIT_INTERRUPTED,
    Config,
    Device,
    DryRun,
    Json,
    PrintConfig,
    Quiet,
    SaveSeconds,
    Seed,
    Workers,
    in_earnest,
    print_json,
    printed,
    resources,
)


def train_supernet(
    ctx: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help="'embedded', a folder of images, a .tar of one, or a timm name: hfds/NAME, wds/FOLDER, torch/cifar10."
        ),
    ] = ("embedded"),
    data_root: Annotated[str | None, typer.Option(help="Root folder of a timm data set.", show_default=False)] = None,
    space: Annotated[
        str, typer.Option(help="Search space; see: nas spaces.", autocompletion=completion.spaces)
    ] = "mbv3-tiny",
    out: Annotated[Path | None, typer.Option(help="Run directory. Default: runs/<data>-<space>.")] = None,
    epochs: Annotated[float, typer.Option(min=0.001, help="Passes over the training split.")] = 24,
    batch_size: Annotated[int, typer.Option(min=2, max=2**20)] = 64,
    strategy: Annotated[
        str,
        typer.Option(
            help="Which subnets a step trains: "
            f"{', '.join(completion.STRATEGIES[:-1])} or {completion.STRATEGIES[-1]}.",
            autocompletion=completion.strategies,
        ),
    ] = "auto",
    optimizer: Annotated[str, typer.Option(help="Name of a timm optimizer.")] = "nesterov",
    lr: Annotated[str, typer.Option(help="Peak learning rate, or auto for a short test that finds one.")] = "0.1",
    base_batch: Annotated[
        int, typer.Option(min=0, help="Batch size that --lr is for: it is scaled to the run's; 0: not scaled.")
    ] = 0,
    schedule: Annotated[str, typer.Option(help="cosine or poly.")] = "cosine",
    momentum: Annotated[float, typer.Option(min=0.0, max=1.0)] = 0.9,
    weight_decay: Annotated[float, typer.Option(min=0.0)] = 3e-5,
    warmup: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the steps that warm up.")] = 0.05,
    label_smoothing: Annotated[float, typer.Option(min=0.0, max=0.9)] = 0.1,
    clip_norm: Annotated[float, typer.Option(min=0.0, help="Gradient norm limit.")] = 5.0,
    clip_value: Annotated[float, typer.Option(min=0.0, help="Limit of each gradient entry; 0: none.")] = 0.0,
    distill: Annotated[
        str, typer.Option(help="What students learn from the largest subnet: soft, or alpha (with --clip-value 1).")
    ] = "soft",
    teacher: Annotated[
        str | None,
        typer.Option(help="Another teacher: exported folder, run directory or timm model.", show_default=False),
    ] = None,
    teacher_weight: Annotated[float, typer.Option(min=0.0, max=1.0, help="Its share of the loss.")] = 0.5,
    teacher_temperature: Annotated[float, typer.Option(min=0.01, help="Of its probabilities.")] = 1.0,
    dropout: Annotated[float, typer.Option(min=0.0, max=0.95, help="Of the largest subnet alone.")] = 0.0,
    drop_path: Annotated[float, typer.Option(min=0.0, max=0.95, help="Of the largest subnet alone.")] = 0.0,
    freeze_bn: Annotated[
        bool, typer.Option("--freeze-bn", help="Keep batch-norm statistics, those of --pretrained or --init.")
    ] = False,
    ema: Annotated[float, typer.Option(min=0.0, max=0.99999, help="Decay of the weight average; 0: none.")] = 0.0,
    augment: Annotated[str, typer.Option(help="auto, none, light or strong.")] = "auto",
    erasing: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, help="Share of images with random erasing. Default: --augment's.", show_default=False
        ),
    ] = None,
    mixup: Annotated[float, typer.Option(min=0.0, help="Alpha of mixup; 0: none.")] = 0.0,
    cutmix: Annotated[float, typer.Option(min=0.0, help="Alpha of CutMix; 0: none.")] = 0.0,
    quantization_aware: Annotated[
        str, typer.Option(help="Precisions to train for in the last part, for example int8,w4a8.")
    ] = "",
    quantization_phase: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the steps that is that part.")
    ] = 0.25,
    quantization_noise: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Cheaper: only this share of the weights, at random; 0: everything.")
    ] = 0.0,
    amp: Annotated[str, typer.Option(help="Mixed precision: off, bf16 or fp16.")] = "off",
    accumulate: Annotated[int, typer.Option(min=1, help="Micro-batches of a batch, to save memory.")] = 1,
    zero_gamma: Annotated[bool, typer.Option("--zero-gamma", help="Residual blocks start as the identity.")] = False,
    rollbacks: Annotated[
        int, typer.Option(min=0, help="How often a collapsed run goes back, at half the rate; 0: not watched.")
    ] = 3,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Start from timm's weights.")] = False,
    init: Annotated[
        Path | None, typer.Option(help="Start from the weights in a .safetensors or .pth file.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = -1,
    nproc: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch, one a GPU with CUDA; or use torchrun.")
    ] = 1,
    save_seconds: SaveSeconds = 30.0,
    log: Annotated[str, typer.Option(help="Metrics go there too: tensorboard, wandb, or both.")] = "",
    quiet: Quiet = False,
    as_json: Json = False,
    dry_run: DryRun = False,
    config: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Train a once-for-all supernet; the same command again resumes it."""
    if printed(ctx, print_config):
        return
    from nas.cli.console import OUT, following
    from nas.cli.progress import TrainingProgress
    from nas.data.opening import absolute
    from nas.store.files import absolute_path
    from nas.store.hints import hint
    from nas.store.run import Run
    from nas.training.config import Resources, TrainConfig
    from nas.training.loggers import parse_loggers
    from nas.training.loop import Interrupted
    from nas.training.processes.launch import check_devices, inside, join_run, launch, processes_here
    from nas.training.processes.world import check_processes
    from nas.training.rehearsal.lr_finder import parse_lr
    from nas.workflows.train import Planned, default_run
    from nas.workflows.train import train_supernet as work

    rate = parse_lr(lr)
    settings = TrainConfig(
        space=space, source=absolute(data), root=data_root and str(Path(data_root).resolve()), seed=seed,
        strategy=strategy, epochs=epochs, batch_size=batch_size, optimizer=optimizer,
        lr=TrainConfig.lr if rate is None else rate, lr_auto=rate is None, base_batch=base_batch, schedule=schedule,
        momentum=momentum, weight_decay=weight_decay, warmup=warmup, label_smoothing=label_smoothing,
        clip_norm=clip_norm, clip_value=clip_value, distill=distill,
        teacher=None if teacher is None else absolute_path(teacher), teacher_weight=teacher_weight,
        teacher_temperature=teacher_temperature, dropout=dropout, drop_path=drop_path, freeze_bn=freeze_bn, ema=ema,
        augment=augment, zero_gamma=zero_gamma, rollbacks=rollbacks, pretrained=pretrained,
        erasing=erasing, mixup=mixup, cutmix=cutmix, amp=amp, accumulate=accumulate,
        quantization_aware=quantization_aware, quantization_phase=quantization_phase,
        quantization_noise=quantization_noise, init=str(init.resolve()) if init is not None else None,
    )  # fmt: skip
    run = Run(out) if out else default_run(settings)
    chosen, workers = resources(device, workers, processes_here(nproc))
    loggers = parse_loggers(log)
    if nproc > 1 and not inside():
        check_devices(nproc, chosen)
        check_processes(nproc, batch_size, accumulate)
        if not dry_run:
            raise SystemExit(launch(nproc, ctx.obj))
    with join_run(chosen) as world:
        shared = Resources(world.device, workers, save_seconds, log=loggers)
        with TrainingProgress(quiet or as_json or not world.main) as progress:
            try:
                result = work(run, settings, shared, progress, dry_run, world)
            except Interrupted:
                raise typer.Exit(EXIT_INTERRUPTED) from None
    if result is None:
        return
    if as_json:
        print_json({"run": str(run.path), **result.to_json()})
    else:
        text = result.summary if isinstance(result, Planned) else f"trained: {run.path}"
        OUT.print(text, soft_wrap=True, highlight=False)
        following(in_earnest() if dry_run else hint("search", run=run.path, target="cortex-a72"))
