"""Training's scalars for TensorBoard, written only where a person asks for them."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from vprlib.params import UserError
from vprlib.training import EpochLog

OnEpoch = Callable[[EpochLog], None]


@contextmanager
def open_scalars(folder: Path, is_wanted: bool) -> Iterator[OnEpoch]:
    """What is to be called after each epoch; it does nothing unless wanted.

    A run that goes on begins its curves anew, with all epochs before the interruption.
    """
    if not is_wanted:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "params.yaml: runtime.tensorboard is true, but TensorBoard is not installed:"
            " run `pip install tensorboard`, or set it to false."
        ) from None
    shutil.rmtree(folder, ignore_errors=True)
    writer = SummaryWriter(str(folder))

    def write(row: EpochLog) -> None:
        known = {"loss": row.loss, "learning_rate": row.learning_rate, "violating": row.violating}
        for name, value in {**known, **row.recalls, "rank_loss": row.rank_loss}.items():
            if value is not None:
                writer.add_scalar(name, value, row.epoch)
        writer.flush()

    with closing(writer):
        yield write
