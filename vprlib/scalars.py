"""Training's scalars for TensorBoard, written only where a person asks for them."""

from collections.abc import Callable
from pathlib import Path

from vprlib.params import UserError
from vprlib.training import EpochLog

OnEpoch = Callable[[EpochLog], None]


def open_scalars(folder: Path, is_wanted: bool) -> OnEpoch:
    """What is to be called after each epoch; it does nothing unless wanted."""
    if not is_wanted:
        return lambda row: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "params.yaml: runtime.tensorboard is true, but TensorBoard is not installed:"
            " run `pip install tensorboard`, or set it to false."
        ) from None
    writer = SummaryWriter(str(folder))

    def write(row: EpochLog) -> None:
        known = {"loss": row.loss, "learning_rate": row.learning_rate, "violating": row.violating}
        for name, value in {**known, **row.recalls}.items():
            if value is not None:
                writer.add_scalar(name, value, row.epoch)
        writer.flush()

    return write
