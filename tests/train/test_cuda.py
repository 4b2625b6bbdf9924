"""On a GPU: the same bytes each time, near what the processor gives, and bfloat16 near float32."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from training import StopError, a_model, settings, weights

from vprlib.images.batches import ImageSource
from vprlib.model.describe import describe
from vprlib.model.device import prepare
from vprlib.model.settings import Precision
from vprlib.pipeline.cache import NO_CACHE, Cache
from vprlib.pipeline.resume import Scratch
from vprlib.pipeline.runtime import RuntimeSettings
from vprlib.train.data import TrainingData
from vprlib.train.log import EpochLog, Outcome
from vprlib.train.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
Run = Callable[..., Trainer]


@pytest.fixture
def trainer(data: TrainingData, tmp_path: Path) -> Run:
    def make(folder: str, device: str = "cuda", cache: Cache = NO_CACHE, **changes: object):
        runtime = RuntimeSettings(device=device, threads=4)
        given = settings(**{"first_layer": "conv4", "refresh_queries": 0} | changes)
        kept = Scratch(tmp_path / folder)
        return Trainer(a_model(), data, given, prepare(runtime), runtime, kept, cache)

    return make


def on_cpu(outcome: Outcome) -> dict[str, bytes]:
    return weights(outcome.model.cpu())


def losses(log: list[EpochLog]) -> np.ndarray:
    return np.array([row.loss for row in log[1:]])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_gives_the_same_bytes_with_the_cache_and_without(
    trainer: Run, tmp_path: Path, precision: Precision
) -> None:
    cache = Cache(tmp_path / "cache", 2**30, lambda sentence: None)
    given = {"precision": precision, "stored": "float32"}
    found = [trainer("a", **given).run()]
    found += [trainer(name, cache=cache, **given).run() for name in ("b", "c")]
    assert found[0].log == found[1].log == found[2].log
    assert on_cpu(found[0]) == on_cpu(found[1]) == on_cpu(found[2])


def test_an_interrupted_run_ends_at_the_same_bytes(trainer: Run) -> None:
    whole = trainer("whole", refresh_queries=3).run()
    cut = trainer("cut", refresh_queries=3)
    save, saved = cut._save, []

    def stop_at_third() -> None:
        save()
        saved.append(1)
        if len(saved) == 3:
            raise StopError

    cut._save = stop_at_third
    with pytest.raises(StopError):
        cut.run()
    again = trainer("cut", refresh_queries=3).run()
    assert again.log == whole.log
    assert on_cpu(again) == on_cpu(whole)


def test_float32_follows_the_processor(trainer: Run) -> None:
    """For one epoch: of the next one, a negative at the margin may go in here and out there."""
    gpu, cpu = (trainer(device, device, epochs=1).run() for device in ("cuda", "cpu"))
    np.testing.assert_allclose(losses(gpu.log), losses(cpu.log), rtol=0, atol=1e-5)


def test_bfloat16_follows_float32_from_afar(trainer: Run) -> None:
    fine = trainer("fine").run()
    coarse = trainer("coarse", precision="bfloat16", stored="bfloat16").run()
    apart = np.abs(losses(coarse.log) - losses(fine.log))
    assert 0 < apart.max() < 0.05
    assert torch.isfinite(coarse.model.pool.centroids).all()


def test_descriptors_are_those_of_the_processor(
    source_of: Callable[..., ImageSource], noise: Callable[..., np.ndarray]
) -> None:
    source = source_of([noise(n) for n in range(5)], np.zeros((5, 2)), "x")
    found = []
    for name in ("cuda", "cpu", "cuda"):
        runtime = RuntimeSettings(device=name, threads=2)
        device = prepare(runtime)
        batches = list(describe(a_model().to(device), source, np.arange(5), device, runtime))
        rows = np.concatenate([batch.rows for batch in batches])
        values = torch.cat([batch.values for batch in batches]).numpy()
        found.append(values[rows.argsort()])
    assert found[0].tobytes() == found[2].tobytes()
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-5)


def test_a_small_part_of_a_tuple_at_a_time_learns_the_same(trainer: Run) -> None:
    """So that many images of a step fit a small GPU."""
    whole = trainer("whole", queries_a_step=4).run()
    parts = trainer("parts", queries_a_step=1, accumulate=4).run()
    np.testing.assert_allclose(losses(parts.log), losses(whole.log), rtol=0, atol=1e-4)
    assert parts.log[-1].recalls == whole.log[-1].recalls
