"""Starting the processes of a run, and ending them: together, within a bounded time, with one message.

``torchrun`` (or whatever sets its environment variables) starts processes on one or several machines; :func:`launch`
does so on this one. Either way a process joins the others with :func:`join_run`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch
import torch.distributed as dist

from nas.store.spawned import refuse_while_importing
from search_spaces.errors import UsageError, UserError

from .world import LostProcess, World

GRACE = 20.0
"""Seconds that processes have to end by themselves after one of them failed."""
SILENCE = timedelta(minutes=5)
"""Time after which a process that takes no part in a step counts as lost."""
_PATIENCE = timedelta(days=7)  # for what process 0 does alone; a process that dies is noticed at once
START: BaseContext = multiprocessing.get_context("spawn")
"""How processes are started: a fork couldn't use a GPU that its parent has used."""
_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def inside() -> bool:
    """Whether this is one of several processes of a run."""
    return all(os.environ.get(name) for name in _NEEDED) and int(os.environ["WORLD_SIZE"]) > 1


def processes_here(nproc: int) -> int:
    """Processes of the run on this machine, where ``nproc`` were asked for; a UsageError within another launcher."""
    if not inside():
        return nproc
    if nproc > 1 and multiprocessing.parent_process() is None:
        raise UsageError(f"`nproc` {nproc} starts processes, and this is one that was started already; leave it out")
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ["WORLD_SIZE"])


def check_devices(count: int, device: str) -> None:
    """Refuse several processes on one GPU, by a UsageError."""
    if torch.device(device).type == "cuda" and count > (there := torch.cuda.device_count()):
        raise UsageError(
            f"{count} processes need a CUDA device each, and this machine has {there}; "
            f"start {there}, or give `device` cpu"
        )


@contextmanager
def join_run(device: str) -> Iterator[World]:
    """The processes of the run; this one alone where nothing started others.

    When an exception leaves the block, this process passes it on only if it is the first to end so. Otherwise somebody
    has said what is wrong already, and it ends silently with the same exit code.

    Args:
        device: ``cpu`` or ``cuda``; each process on a machine gets a CUDA device of its own.

    Raises:
        UserError: the others do not come.
    """
    if not inside():
        yield World(device=device)
        return
    try:
        store, rank, size = next(dist.rendezvous("env://", timeout=SILENCE))  # type: ignore[attr-defined]
    except RuntimeError as error:
        raise UserError(
            f"the {os.environ['WORLD_SIZE']} processes of this run did not find each other: {error}"
        ) from None
    try:
        yield _connected(store, rank, size, device)
    except BaseException as error:
        code = _code_of_another(store, error)
        if code is None:
            raise
        raise SystemExit(code) from None
    finally:
        if not sys.exc_info()[0] and dist.is_initialized():
            dist.destroy_process_group()


def _connected(store: Any, rank: int, size: int, device: str) -> World:
    backend = "gloo"
    if torch.device(device).type == "cuda":
        check_devices(processes_here(1), device)
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    try:
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=SILENCE)
        return World(rank, size, device, dist.new_group(backend="gloo", timeout=_PATIENCE))
    except RuntimeError as error:
        raise LostProcess(f"the {size} processes of this run cannot reach each other: {error}") from None


def _code_of_another(store: Any, error: BaseException) -> int | None:
    """The exit code to end with silently; None: this process is the one to say why."""
    code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
    if isinstance(error, SystemExit):
        return None
    try:
        if isinstance(error, LostProcess) and store.check(["launcher"]):
            # the launcher knows who was lost and how, where the lost one did not say so itself
            return int(store.get("code")) if store.add("ended", 0) else code
        if store.add("ended", 1) > 1:
            return int(store.get("code"))
        store.set("code", str(code))
    except RuntimeError:  # lost with process 0
        pass
    return None


def launch(count: int, main: Callable[[], object]) -> int:
    """Run ``main`` in ``count`` processes on this machine, with the same ``sys.argv``; returns the exit code.

    SIGINT and SIGTERM are passed on, so that all stop at the same step. When one process fails, the others get
    :data:`GRACE` seconds to end. When this process is killed, they save and stop.

    Raises:
        UserError: a process was killed, or this one only imports the script of another.
    """
    refuse_while_importing()
    store = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)  # type: ignore[attr-defined]
    store.set("launcher", "1")
    arguments = [(main, rank, count, store.port) for rank in range(count)]
    workers: list[BaseProcess] = [START.Process(target=_work, args=given) for given in arguments]  # type: ignore[attr-defined]
    with _passed_on(workers):
        for worker in workers:
            worker.start()
        failed = _first_failure(workers)
    if failed is None:
        return 0
    if store.add("ended", 0):
        return int(store.get("code"))
    rank, code = workers.index(failed), failed.exitcode or 0
    if code > 0:
        return code
    raise UserError(
        f"process {rank} of {count} was killed ({signal.Signals(-code).name}); the last checkpoint is kept, and the "
        "same command continues from it"
    )


def _work(main: Callable[[], object], rank: int, count: int, port: int) -> None:
    """What a started process does."""
    os.setsid()  # Ctrl-C reaches it through the launcher alone, and once
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE="True",
    )  # fmt: skip
    threading.Thread(target=_stop_without_launcher, daemon=True).start()
    try:
        main()
    except SystemExit as end:
        if not end.code:
            raise
        # gloo's threads may still wait for the others, and the interpreter's own way out would abort over them
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)


def _stop_without_launcher() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _first_failure(workers: Sequence[BaseProcess]) -> BaseProcess | None:
    """Wait for all; the process that failed first, if any did."""
    failed: BaseProcess | None = None
    end = float("inf")
    while running := [worker for worker in workers if worker.exitcode is None]:
        wait([worker.sentinel for worker in running], timeout=1.0)
        if failed is None:
            failed = next((worker for worker in running if worker.exitcode), None)
            end = time.monotonic() + GRACE if failed else end
        if time.monotonic() > end:
            for worker in running:
                worker.kill()
    return failed or next((worker for worker in workers if worker.exitcode), None)


@contextmanager
def _passed_on(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """Hand SIGINT and SIGTERM to processes."""

    def handler(number: int, _frame: Any) -> None:
        for worker in workers:
            if worker.pid is not None and worker.exitcode is None:
                os.kill(worker.pid, number)

    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
