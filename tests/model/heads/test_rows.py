"""A linear layer over descriptors gives each of them the same, whatever the batch."""

import torch
from torch import nn

from vprlib.model.heads.rows import AT_ONCE, by_rows


def test_the_result_of_a_row_does_not_depend_on_the_others() -> None:
    layer = nn.Linear(2048, 512)
    rows = torch.randn(AT_ONCE + 5, 2048, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = by_rows(layer, rows[:AT_ONCE])
        for start, stop in ((0, 1), (0, 2), (3, 10), (20, 37)):
            assert torch.equal(by_rows(layer, rows[start:stop]), whole[start:stop])
        torch.testing.assert_close(by_rows(layer, rows), layer(rows), atol=1e-5, rtol=1e-5)
