"""The same training written plainly, as the popular PyTorch port does it: what ours is held to."""

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import tee
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from benchmarks.stopwatch import Stopwatch
from vprlib.images.batches import ImageSource, load_ahead
from vprlib.model.backbones import trainable_children
from vprlib.model.model import PlaceModel
from vprlib.model.netvlad import NetVLAD
from vprlib.train.data import TrainingData, epoch_blocks
from vprlib.train.losses import margin_for
from vprlib.train.mining import Tuple, pool_of
from vprlib.train.settings import TrainSettings

IMAGES_A_BATCH = 24  # in describing
WORKERS = 2
AHEAD = 2 * WORKERS  # batches, as PyTorch's DataLoader has them by default


class LoopNetVLAD(nn.Module):
    """NetVLAD cluster by cluster, each with its residuals to all local descriptors."""

    def __init__(self, layer: NetVLAD) -> None:
        super().__init__()
        self.normalise_input, self.intra_normalise = layer.normalise_input, layer.intra_normalise
        self.conv = copy.deepcopy(layer.conv)
        self.centroids = nn.Parameter(layer.centroids.detach().clone())

    def forward(self, features: Tensor) -> Tensor:
        """Local features [B, D, H, W] to unit vectors [B, K·D], cluster-major."""
        features = F.normalize(features, dim=1) if self.normalise_input else features
        assignment = self.conv(features).flatten(2).softmax(dim=1)  # B K N
        x = features.flatten(2)  # B D N
        sums = []
        for k, centroid in enumerate(self.centroids):
            residuals = x - centroid[None, :, None]  # B D N
            sums.append((residuals * assignment[:, k, None]).sum(dim=2))
        vlad = torch.stack(sums, dim=1)  # B K D
        vlad = F.normalize(vlad, dim=2) if self.intra_normalise else vlad
        return F.normalize(vlad.flatten(1), dim=1)


class PlainNetwork(nn.Module):
    """The layers of a model as torchvision has them, channels first, and the loop."""

    def __init__(self, model: PlaceModel) -> None:
        super().__init__()
        backbone = copy.deepcopy(model.backbone)
        self.backbone = backbone.to(memory_format=torch.contiguous_format)
        self.pool = LoopNetVLAD(model.pool)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images float32 [B, 3, H, W] to unit vectors [B, K·D]."""
        return self.pool(self.backbone(images))


@dataclass(frozen=True)
class NormalisedSource:
    """The images of a source as the network wants them, made by whoever decodes them."""

    source: ImageSource
    mean: np.ndarray
    std: np.ndarray

    def pixels(self, row: int) -> np.ndarray:
        """One image, float32 [3, H, W]."""
        unit = self.source.pixels(row) / np.float32(255)
        return np.ascontiguousarray(((unit - self.mean) / self.std).transpose(2, 0, 1))


class PlainTrainer:
    """Trains a copy of the model, with the draws of ours and none of its shortcuts.

    It does what the port can: full mining, plain distances, images of one size, all as they are.
    `clock.seconds` says how long describing for mining (encode), mining, waiting for images
    (data), forward and backward have taken.
    """

    def __init__(self, model: PlaceModel, data: TrainingData, settings: TrainSettings) -> None:
        assert (settings.mining, settings.positive) == ("full", "nearest")
        assert (settings.distance, settings.optimizer) == ("l2", "sgd")
        assert (settings.accumulate, settings.flip, settings.jitter) == (1, 0.0, None)
        self.data, self.settings = data, settings
        self.network, self.dim = PlainNetwork(model), model.dim
        freeze_below(self.network, model, settings.first_layer)
        self.optimizer = torch.optim.SGD(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.criterion = nn.TripletMarginLoss(
            margin=margin_for(settings.margin, settings.distance), p=2, reduction="sum"
        )
        norm = model.normalise
        mean, std = norm.mean.cpu().numpy(), norm.std.cpu().numpy()
        self.database = NormalisedSource(data.train.database, mean, std)
        self.queries = NormalisedSource(data.train.queries, mean, std)
        kept = settings.skip_hardest + settings.negatives
        self.hardest = np.full((len(data.train.queries.index), kept), -1)
        self.folder = TemporaryDirectory()
        self.cache_path = Path(self.folder.name) / "features.hdf5"
        self.clock = Stopwatch.of(model.normalise.mean.device)
        self.asked = 0  # images shown to the network in steps

    def epoch(self, number: int) -> list[float]:
        """The loss of each step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(number)
        blocks = epoch_blocks(self.data.candidates.trainable(), number, self.settings)
        return [loss for block in blocks for loss in self._block(block, number)]

    def _block(self, queries: np.ndarray, epoch: int) -> Iterator[float]:
        with self.clock.part("encode"):
            self._describe()
        steps, wanted = tee(self._steps(queries, epoch))  # mined as they are needed
        groups = (self._images(step) for step in wanted)
        with closing(load_ahead(groups, WORKERS, AHEAD)) as decoded:
            batches = self.clock.waiting("data", map(together, decoded))
            for images, step in zip(batches, steps, strict=True):
                yield self._learn(step, images)

    @torch.no_grad()
    def _describe(self) -> None:
        """Writes the descriptors of the database and then of all queries into one file."""
        sides = (self.database, self.queries)
        rows = ((side, range(len(side.source.index))) for side in sides)
        images = [partial(side.pixels, row) for side, own in rows for row in own]
        starts = range(0, len(images), IMAGES_A_BATCH)
        groups = (images[start : start + IMAGES_A_BATCH] for start in starts)
        with (
            h5py.File(self.cache_path, "w") as file,
            closing(load_ahead(groups, WORKERS, AHEAD)) as decoded,
        ):
            cache = file.create_dataset("features", (len(images), self.dim), np.float32)
            for start, batch in zip(starts, map(together, decoded), strict=True):
                vectors = self.network(batch.to(self._device()))
                cache[start : start + len(vectors)] = vectors.cpu().numpy()

    def _steps(self, queries: np.ndarray, epoch: int) -> Iterator[list[Tuple]]:
        """Queries without a tuple drop out; so does a step in which all of them do."""
        size = self.settings.queries_a_step
        for start in range(0, len(queries), size):
            with self.clock.part("mine"):
                found = [self._mine(query, epoch) for query in queries[start : start + size]]
            if step := [t for t in found if t is not None]:
                yield step

    def _mine(self, query: int, epoch: int) -> Tuple | None:
        pool = pool_of(query, self.data.candidates, self.hardest[query], self.settings, epoch)
        with h5py.File(self.cache_path) as file:
            cache = file["features"]
            own = cache[len(self.database.source.index) + query][None]
            to_positive, positive = nearest(own, cache[pool.positives], 1)
            kept = self.settings.skip_hardest + self.settings.negatives
            to_negatives, hardest = nearest(own, cache[pool.negatives], kept)
        self.hardest[query] = -1
        self.hardest[query, : len(hardest)] = pool.negatives[hardest]
        margin = margin_for(self.settings.margin, self.settings.distance)
        is_violating = to_negatives[self.settings.skip_hardest :] < to_positive[0] + margin
        negatives = pool.negatives[hardest[self.settings.skip_hardest :][is_violating]]
        if not len(negatives):
            return None
        return Tuple(int(query), int(pool.positives[positive[0]]), negatives)

    def _images(self, step: list[Tuple]) -> list[Callable[[], np.ndarray]]:
        """All queries, then all positives, then the negatives tuple by tuple."""
        queries, database = self.queries.pixels, self.database.pixels
        return [
            *(partial(queries, t.query) for t in step),
            *(partial(database, t.positive) for t in step),
            *(partial(database, row) for t in step for row in t.negatives.tolist()),
        ]

    def _learn(self, step: list[Tuple], images: Tensor) -> float:
        self.asked += len(images)
        with self.clock.part("forward"):
            loss = self._loss(step, self.network(images.to(self._device())))
            value = loss.item()
        with self.clock.part("backward"):
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return value

    def _loss(self, step: list[Tuple], vectors: Tensor) -> Tensor:
        """Triplet by triplet, over the number of negatives."""
        count = sum(len(t.negatives) for t in step)
        queries, positives, negatives = vectors.split([len(step), len(step), count])
        owners = np.repeat(np.arange(len(step)), [len(t.negatives) for t in step]).tolist()
        total = vectors.new_zeros(())
        for n, q in enumerate(owners):
            triplet = (queries[q : q + 1], positives[q : q + 1], negatives[n : n + 1])
            total = total + self.criterion(*triplet)
        return total / count

    def _device(self) -> torch.device:
        return self.network.pool.centroids.device


def freeze_below(network: PlainNetwork, model: PlaceModel, first_layer: str) -> None:
    a = model.architecture
    learning = trainable_children(a.backbone, a.cut, first_layer)
    for name, child in network.backbone.named_children():
        child.requires_grad_(name in learning)


def nearest(query: np.ndarray, vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances and places of the nearest [count] to one query [1, D], by a search made for it.

    With scikit-learn 1.9 and 32,768 dimensions this takes some 0.3 s however few vectors there are.
    """
    search = NearestNeighbors(n_jobs=-1).fit(vectors)
    distances, places = search.kneighbors(query, min(count, len(vectors)))
    return distances[0], places[0]


def together(images: Iterable[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(list(images)))


@torch.no_grad()
def backbone_overhead(backbone: nn.Sequential, images: Tensor, repeats: int = 5) -> float:
    """Seconds of VGG16 up to conv5_3 as `backbone` has it, over those of torchvision's own.

    On a CPU processor time of one thread: other work on the machine hardly changes it.
    """
    with torch.device("meta"):
        bare = torchvision.models.vgg16().features[:29]
    bare = bare.to_empty(device=images.device).eval()
    bare.load_state_dict(backbone.state_dict())
    seconds = {network: [] for network in (backbone, bare)}
    is_cuda = images.device.type == "cuda"
    now = time.perf_counter if is_cuda else time.process_time
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(repeats):
        for network, taken in seconds.items():
            start = now()
            network(images)
            if is_cuda:
                torch.cuda.synchronize()
            taken.append(now() - start)
    torch.set_num_threads(threads)
    return min(seconds[backbone]) / min(seconds[bare])
