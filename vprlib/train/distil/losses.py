"""How far a student is from its teacher on a batch of images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vprlib.train.settings import DistilLossSettings


def student_loss(student: Tensor, teacher: Tensor, settings: DistilLossSettings) -> Tensor:
    """The weighted sum of those below; unit vectors [B, D] and [B, E]."""
    loss = student.new_zeros(())
    if settings.descriptors:
        loss = loss + settings.descriptors * descriptor_loss(student, teacher)
    if settings.similarities:
        divergence = similarity_divergence(student, teacher, settings.temperature)
        loss = loss + settings.similarities * divergence
    return loss


def descriptor_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of 1 − cosine over the images; unit vectors [B, D] of both."""
    return 1 - (student * teacher).sum(dim=1).mean()


def similarity_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean over images of Σ p log(p / q) over the others of the batch; [B, D] and [B, E].

    p is the softmax of the cosines to the teacher over the temperature, and q that of the student.
    The levels of the cosines do not matter, only which other images are more alike than which.
    """
    p, q = (F.log_softmax(_cosines(v) / temperature, dim=1) for v in (teacher, student))
    return F.kl_div(q, p, reduction="batchmean", log_target=True)


def _cosines(vectors: Tensor) -> Tensor:
    """Of each image with the others [B, B − 1]."""
    count = len(vectors)
    others = ~torch.eye(count, dtype=torch.bool, device=vectors.device)
    return (vectors @ vectors.T)[others].reshape(count, count - 1)
