"""Starts a stage in as many processes as the runtime asks for."""

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from vprlib.pipeline import command
from vprlib.pipeline.artifacts import write_text
from vprlib.pipeline.params import At, StageParams, UserError
from vprlib.pipeline.rendezvous import PATIENCE_S, Meeting, meeting_of, not_met
from vprlib.pipeline.runtime import LAUNCHER, RuntimeSettings, member

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
    from torch.distributed.launcher.api import LaunchConfig

LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"
GO_ON = "run `dvc repro` again; it goes on from the state that was last kept."


class Params(StageParams):
    runtime: Annotated[RuntimeSettings, At("runtime")]


def run(main: Callable[..., None]) -> None:
    """Calls `main` with the command line's options, in each of the processes."""
    command.run(_as_member(main) if LAUNCHER in os.environ else _as_launcher(main))


def _as_launcher(main: Callable[..., None]) -> Callable[..., None]:
    """`main` itself where one process is enough."""

    @wraps(main)
    def launching(**options: object) -> None:
        runtime = Params.load().runtime
        if runtime.processes * runtime.nodes == 1:
            main(**options)
            return
        _silence_torch(runtime)
        if runtime.nodes > 1:
            typer.echo(
                f"waiting for {runtime.nodes} machines at {runtime.rendezvous}: run this same"
                " command on each of the others.",
                err=True,
            )
        _launch(runtime)

    return launching


def _as_member(main: Callable[..., None]) -> Callable[..., None]:
    """`main` as one process of a group, of which only the first is heard on stdout."""

    @wraps(main)
    def taking_part(**options: object) -> None:
        threading.Thread(target=_end_with_launcher, daemon=True).start()
        if member().rank > 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        try:
            main(**options)
        except (UserError, FileNotFoundError) as error:
            _tell_launcher(command.sentence(error))
        except Exception:
            traceback.print_exc()
        else:
            return
        os._exit(1)  # at once: an orderly end could wait for the other processes for ever

    return taking_part


def _end_with_launcher() -> None:
    """A launcher that was killed has not stopped its processes."""
    while os.getppid() == int(os.environ[LAUNCHER]):
        time.sleep(0.5)
    os._exit(1)


def _tell_launcher(sentence: str) -> None:
    """Leaves it where torch's launcher looks for it."""
    content = json.dumps({"message": sentence, "timestamp": int(time.time())})
    write_text(Path(os.environ["TORCHELASTIC_ERROR_FILE"]), content)


def _launch(runtime: RuntimeSettings) -> None:
    """Starts this very command again in each process, and ends when all have ended."""
    # here, since a stage in one process needs none of it
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    meeting = meeting_of(runtime)
    os.environ[LAUNCHER] = str(os.getpid())
    with TemporaryDirectory() as folder:
        try:
            config = _config(runtime, meeting, folder)
            elastic_launch(config, sys.executable)(*sys.orig_argv[1:])
        except ChildFailedError as error:
            raise UserError(_explain(error.failures, runtime.processes * runtime.nodes)) from None
        except SignalException as stop:
            raise typer.Exit(128 + stop.sigval) from None
        except RendezvousError as error:
            has_met = any(Path(folder).iterdir())
            raise UserError(_host_ended(runtime) if has_met else _unmet(runtime, error)) from None


def _silence_torch(runtime: RuntimeSettings) -> None:
    """torch reports at length on the processes that it starts; our sentence is enough."""
    logging.disable()
    if LOG_LEVEL not in os.environ:
        os.environ[LOG_LEVEL] = "ERROR"
        if runtime.nodes > 1:  # torch read it when it was loaded: begin once more
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _config(runtime: RuntimeSettings, meeting: Meeting, folder: str) -> "LaunchConfig":
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    waiting = {"join_timeout": PATIENCE_S, "is_host": meeting.is_host}
    return LaunchConfig(
        min_nodes=runtime.nodes,
        max_nodes=runtime.nodes,
        nproc_per_node=runtime.processes,
        run_id="vprlib",  # the same on all machines; it is forgotten when the launcher ends
        rdzv_backend="c10d",
        rdzv_endpoint=meeting.endpoint,
        rdzv_configs=waiting,
        local_addr=meeting.own_address,
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=folder),
        signals_to_handle="SIGTERM,SIGHUP,SIGQUIT",  # Ctrl-C stays typer's, which ends with 130
    )


def _explain(failures: "Mapping[int, ProcessFailure]", size: int) -> str:
    """What the processes have told, each sentence once, or else how the first one ended."""
    told = [f.message for f in failures.values() if Path(f.error_file).exists()]
    if told:
        return "\nerror: ".join(dict.fromkeys(told))
    # the launcher has stopped the others by SIGTERM
    rank, failure = min(failures.items(), key=lambda item: item[1].exitcode == -signal.SIGTERM)
    who = f"process {rank + 1} of {size} of the group"
    if failure.exitcode < 0:
        return f"{who} was stopped by {failure.signal_name()}: {GO_ON}"
    return f"{who} ended with exit code {failure.exitcode}: mend what it said above, and {GO_ON}"


def _unmet(runtime: RuntimeSettings, error: Exception) -> str:
    return not_met(runtime, str(error).split("\n")[0] or type(error).__name__)


def _host_ended(runtime: RuntimeSettings) -> str:
    return f"the work at {runtime.rendezvous} has ended: see what it said there, and {GO_ON}"
