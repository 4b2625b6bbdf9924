"""Runs a stage in as many processes as runtime.processes says, by PyTorch's elastic launcher."""

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_text
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.runtime import RuntimeSettings, is_member, member

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

GO_ON = "run `dvc repro` again; it goes on from the state that was last kept."


class Params(StageParams):
    runtime: Annotated[RuntimeSettings, At("runtime")]


def run(main: command.Main) -> None:
    """Calls `main` with the command line's options, in each of the processes."""
    command.run(_as_member(main) if is_member() else _as_launcher(main))


def _as_launcher(main: command.Main) -> command.Main:
    """`main` itself if one process is enough; else this command again in each process."""

    @wraps(main)
    def launching(**options: object) -> Mapping[str, float] | None:
        processes = Params.load().runtime.processes
        if processes == 1:
            return main(**options)
        _launch(processes)
        return None

    return launching


def _as_member(main: command.Main) -> command.Main:
    """Runs `main` as one process of a group; only the first process writes to stdout."""

    @wraps(main)
    def taking_part(**options: object) -> None:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        if member().rank > 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        try:
            main(**options)
        except Exception as error:
            said = command.sentences(error)
            _report(said[0]) if said else traceback.print_exc()
        else:
            return
        os._exit(1)  # at once: an orderly end could wait for the other processes for ever

    return taking_part


def _end_with(parent: int) -> None:
    """Ends this process when its launcher is gone: a killed launcher stops nobody."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _report(sentence: str) -> None:
    """Writes the error to the file from which the launcher (ours or torchrun) prints it once."""
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path is None:
        typer.echo(f"error: {sentence}", err=True)
    else:
        content = {"message": sentence, "timestamp": int(time.time())}
        write_text(Path(path), json.dumps(content))


def _launch(processes: int) -> None:
    """Starts this command in each process as torchrun does, and ends when all have ended."""
    # imported here: a stage in one process needs none of it
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable()  # PyTorch reports at length on its processes; our sentence is enough
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    with TemporaryDirectory() as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle="SIGTERM,SIGHUP,SIGQUIT",  # typer handles Ctrl-C and ends with 130
        )
        try:
            elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
        except ChildFailedError as error:
            raise UserError(*_explain(error.failures, processes)) from None
        except SignalException as stop:
            raise typer.Exit(128 + stop.sigval) from None


def _explain(failures: "Mapping[int, ProcessFailure]", size: int) -> list[str]:
    """Each sentence that the processes reported, once; or else how the first of them ended."""
    reported = [f.message for f in failures.values() if Path(f.error_file).exists()]
    if reported:
        return list(dict.fromkeys(reported))
    # the launcher has stopped the others by SIGTERM
    rank, failure = min(failures.items(), key=lambda item: item[1].exitcode == -signal.SIGTERM)
    who = f"process {rank + 1} of {size} of the group"
    if failure.exitcode < 0:
        return [f"{who} was stopped by {failure.signal_name()}: {GO_ON}"]
    return [f"{who} ended with exit code {failure.exitcode}: fix what it said above, and {GO_ON}"]
