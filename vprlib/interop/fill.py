"""Loads the tensors of a file into a network, or says which do not fit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from vprlib.model.model import PlaceModel
from vprlib.pipeline.params import UserError

_NAMED = 3  # tensors per problem that a message names


def fill(
    model: PlaceModel, tensors: Mapping[str, Tensor], names: Mapping[str, str], path: Path
) -> None:
    """`names` maps the network's tensors to those of the file."""
    check_fit(model.state_dict(), tensors, names, model.architecture.backbone, path)
    model.load_state_dict({ours: tensors[theirs].float() for ours, theirs in names.items()})


def check_fit(
    needed: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    names: Mapping[str, str],
    backbone: str,
    path: Path,
) -> None:
    """Raises an error unless the file has all that is needed and nothing else."""
    found = {ours: theirs for ours, theirs in names.items() if theirs in tensors}
    absent = [theirs for theirs in names.values() if theirs not in tensors]
    known = set(names.values())
    problems = [f"it lacks {name}" for name in absent[:_NAMED]]
    problems += [f"{name} has no place" for name in sorted(set(tensors) - known)[:_NAMED]]
    problems += [
        f"{theirs} is {list(tensors[theirs].shape)} instead of {list(needed[ours].shape)}"
        for ours, theirs in found.items()
        if tensors[theirs].shape != needed[ours].shape
    ][:_NAMED]
    problems += [
        f"{theirs} is not finite"
        for theirs in found.values()
        if not torch.isfinite(tensors[theirs]).all()
    ][:_NAMED]
    if problems:
        raise UserError(f"{path} does not fit {backbone}: {'; '.join(problems)}.")
