"""How far a student is from its teacher: by hand, by slow twins, and what must not matter."""

import math

import pytest
import torch
from torch import Tensor

from vprlib.train.distil.losses import descriptor_loss, similarity_divergence, student_loss
from vprlib.train.settings import DistilLossSettings


def vectors(count: int, dim: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    found = torch.randn(count, dim, generator=draw, dtype=torch.float64)
    return torch.nn.functional.normalize(found, dim=1)


def divergence_twin(student: Tensor, teacher: Tensor, temperature: float) -> float:
    total, count = 0.0, len(student)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        shares = []
        for v in (teacher, student):
            powers = [math.exp(float(v[i] @ v[j]) / temperature) for j in others]
            shares.append([power / sum(powers) for power in powers])
        total += sum(p * math.log(p / q) for p, q in zip(*shares, strict=True))
    return total / count


@pytest.mark.parametrize("temperature", [0.05, 0.5, 3.0])
def test_the_divergence_is_that_of_a_double_loop(temperature: float) -> None:
    student, teacher = vectors(6, 4, 1), vectors(6, 9, 2)
    found = similarity_divergence(student, teacher, temperature)
    assert found.item() == pytest.approx(divergence_twin(student, teacher, temperature), rel=1e-9)


def test_the_divergence_of_three_images_by_hand() -> None:
    """To the teacher the first two are one place; to the student all are at right angles."""
    same = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    near = math.e / (1 + math.e)
    expected = near * math.log(2 * near) + (1 - near) * math.log(2 * (1 - near))
    found = similarity_divergence(torch.eye(3), same, 1.0)
    assert found.item() == pytest.approx(2 * expected / 3, abs=1e-6)  # the third sees no difference


def test_a_student_that_sees_the_same_likenesses_has_nothing_to_learn() -> None:
    teacher = vectors(7, 5, 3)
    turned = teacher @ torch.linalg.qr(vectors(5, 5, 4)).Q
    assert similarity_divergence(turned, teacher, 0.1).item() == pytest.approx(0, abs=1e-12)
    assert similarity_divergence(vectors(7, 5, 4), teacher, 0.1) > 1e-3


def test_the_level_of_the_cosines_does_not_matter() -> None:
    """With a component that all share, cosines are (c + s) / (1 + s): so is the temperature."""
    student, teacher, shared = vectors(6, 5, 6), vectors(6, 5, 5), 3.0
    column = torch.full((6, 1), math.sqrt(shared), dtype=teacher.dtype)
    raised = [torch.cat([v, column], dim=1) / math.sqrt(1 + shared) for v in (student, teacher)]
    low = similarity_divergence(*raised, 0.2 / (1 + shared))
    assert low.item() == pytest.approx(similarity_divergence(student, teacher, 0.2).item())


def test_the_loss_of_descriptors_is_one_less_their_mean_cosine() -> None:
    student = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    teacher = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert descriptor_loss(student, teacher).item() == pytest.approx(1 - 0.3)
    own = vectors(5, 4, 7)
    assert descriptor_loss(own, own).item() == pytest.approx(0, abs=1e-12)
    other = vectors(5, 4, 8)  # half the squared distance
    squared = sum(float((a - b) @ (a - b)) for a, b in zip(own, other, strict=True))
    assert descriptor_loss(own, other).item() == pytest.approx(squared / 2 / 5)


def test_the_loss_is_the_weighted_sum_and_leaves_out_what_weighs_nothing() -> None:
    student, teacher = vectors(5, 4, 9), vectors(5, 4, 10)
    both = DistilLossSettings(descriptors=2.0, similarities=0.5, temperature=0.1)
    parts = descriptor_loss(student, teacher), similarity_divergence(student, teacher, 0.1)
    found = student_loss(student, teacher, both).item()
    assert found == pytest.approx(2 * parts[0].item() + 0.5 * parts[1].item())
    alone = both.model_copy(update={"descriptors": 0.0})
    assert student_loss(student, vectors(5, 7, 11), alone) > 0  # of other lengths


def test_the_gradient_is_that_of_small_differences() -> None:
    teacher, settings = vectors(4, 3, 12), DistilLossSettings(descriptors=1.0, temperature=0.3)

    def loss(student: Tensor) -> Tensor:
        return student_loss(student, teacher, settings)

    assert torch.autograd.gradcheck(loss, vectors(4, 3, 13).requires_grad_())


def test_a_batch_of_one_image_has_no_likeness_to_learn() -> None:
    own = vectors(1, 3, 14).requires_grad_()
    loss = similarity_divergence(own, vectors(1, 4, 15), 0.1)
    loss.backward()
    assert loss.item() == 0 and own.grad.abs().sum() == 0
