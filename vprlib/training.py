"""Weakly supervised training by triplets, going on where it was interrupted."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vprlib.backbones import trainable_children
from vprlib.batches import ImageSource, decode_ahead
from vprlib.describe import describe_into, network_output
from vprlib.index import Radii
from vprlib.losses import Distance, triplet_loss
from vprlib.mining import Candidates, MiningRules, Tuple, candidates, mine
from vprlib.model import PlaceModel
from vprlib.params import Section, UserError
from vprlib.progress import progress
from vprlib.recall import is_right, recall_at
from vprlib.runtime import RuntimeSettings
from vprlib.scratch import Scratch
from vprlib.search import search

VALIDATION_NS = (1, 5, 10, 20)


class TrainSettings(Section):
    """How the network learns; the defaults are the paper's and the PyTorch port's."""

    epochs: int = Field(30, ge=0)  # 0 copies the start
    first_layer: str = "conv5_1"  # this layer and all above learn; 'pool': the pool alone
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(1e-4, gt=0)
    halve_every: int = Field(5, ge=1)  # epochs; the first halving is before the next one
    momentum: float = Field(0.9, ge=0, lt=1)  # of SGD
    weight_decay: float = Field(1e-3, ge=0)
    distance: Distance = "l2"  # or squared, as in the paper
    margin: float = Field(0.1, gt=0)  # for squared distances; l2 takes its square root
    queries_a_step: int = Field(4, ge=1)
    negatives: int = Field(10, ge=1)  # hardest ones a query, learnt from and remembered
    negative_pool: int = Field(1000, ge=1)  # random ones looked at for each query
    refresh_queries: int = Field(1000, ge=0)  # describe all anew after so many; 0: once an epoch
    patience: int = Field(10, ge=1)  # epochs without a better R@5 before it stops
    positive_radius_m: float | None = Field(None, gt=0)  # null: the specification's own
    negative_radius_m: float | None = Field(None, gt=0)  # null: the specification's own
    exclude_same_spot: bool = True  # no positive within 1 m of the query
    seed: int = 1

    def rules(self) -> MiningRules:
        return MiningRules(
            self.negatives, self.negative_pool, self.margin, self.distance, self.seed
        )

    def rate_at(self, epoch: int) -> float:
        return self.learning_rate * 0.5 ** ((epoch - 1) // self.halve_every)


@dataclass(frozen=True)
class Split:
    database: ImageSource
    queries: ImageSource


@dataclass(frozen=True)
class TrainingData:
    train: Split
    candidates: Candidates
    val: Split
    val_radius_m: float


def training_data(
    train: Split, radii: Radii, val: Split, val_radius_m: float, settings: TrainSettings
) -> TrainingData:
    """Who may be whose positive and negative; a sentence where no query could learn anything."""
    positive_m = settings.positive_radius_m or radii.training_m
    negative_m = settings.negative_radius_m or radii.positive_m
    allowed = candidates(
        train.queries.index,
        train.database.index,
        positive_m,
        negative_m,
        settings.exclude_same_spot,
    )
    if not len(allowed.trainable()):
        raise UserError(
            f"no query of {train.queries.index.set_name} can be trained on: none has both a"
            f" database image within {positive_m:g} m and one beyond {negative_m:g} m; check the"
            " positions, or widen train.positive_radius_m."
        )
    return TrainingData(train, allowed, val, val_radius_m)


@dataclass(frozen=True)
class EpochLog:
    """One row of the log; epoch 0 is the start, which has learnt nothing."""

    epoch: int
    loss: float | None
    learning_rate: float | None
    violating: float | None  # share of the nearest negatives that violate the margin
    recalls: dict[str, float]

    @property
    def score(self) -> tuple[float, float]:
        return self.recalls["recall@5"], self.recalls["recall@1"]


@dataclass(frozen=True)
class Outcome:
    model: PlaceModel
    log: list[EpochLog]
    best: EpochLog


@dataclass
class State:
    """All that a run needs to go on from the start of a block of queries."""

    weights: dict[str, Tensor]
    best_weights: dict[str, Tensor]
    hardest: Tensor  # [Q, negatives] database rows remembered, -1 for none
    optimizer: dict[str, object] | None = None
    epoch: int = 0
    block: int = 0
    step: int = 0  # within the epoch
    loss_sum: float = 0.0
    triplets: int = 0
    looked_at: int = 0
    best_epoch: int = 0
    log: list[dict[str, object]] = field(default_factory=list)

    def rows(self) -> list[EpochLog]:
        return [EpochLog(**row) for row in self.log]


class Trainer:
    """Runs epochs over one data set; all that changes is in `state`."""

    def __init__(
        self,
        model: PlaceModel,
        data: TrainingData,
        settings: TrainSettings,
        device: torch.device,
        runtime: RuntimeSettings,
        scratch: Scratch,
    ) -> None:
        self.model = model.to(device)
        self.data, self.settings = data, settings
        self.device, self.runtime, self.scratch = device, runtime, scratch
        self.queries = data.candidates.trainable()
        self.optimizer = make_optimizer(model, settings)
        self.state = self._restored() or self._fresh()

    def run(self, on_epoch: Callable[[EpochLog], None] = lambda row: None) -> Outcome:
        """Trains to the last epoch, or until nothing gets better, and gives the best model.

        `on_epoch` hears of each epoch, of those before an interruption too.
        """
        self.on_epoch = on_epoch
        for row in self.state.rows():
            on_epoch(row)
        if not self.state.log:
            self._finish_epoch(EpochLog(0, None, None, None, self._validate()))
        while not self._is_done():
            self._run_epoch()
        log = self.state.rows()
        self.model.load_state_dict(self.state.best_weights)
        return Outcome(self.model, log, log[self.state.best_epoch])

    def _is_done(self) -> bool:
        waited = len(self.state.log) - 1 - self.state.best_epoch
        return self.state.epoch > self.settings.epochs or waited >= self.settings.patience

    def _run_epoch(self) -> None:
        state = self.state
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.rate_at(state.epoch)
        blocks = epoch_blocks(self.queries, state.epoch, self.settings)
        for block in blocks[state.block :]:
            self._run_block(block)
            state.block += 1
            if state.block < len(blocks):
                self._save()
        loss = state.loss_sum / max(1, state.triplets)
        violating = state.triplets / max(1, state.looked_at)
        rate = self.settings.rate_at(state.epoch)
        self._finish_epoch(EpochLog(state.epoch, loss, rate, violating, self._validate()))

    def _finish_epoch(self, row: EpochLog) -> None:
        state = self.state
        rows = state.rows()
        state.log.append(asdict(row))
        if not rows or row.score > rows[state.best_epoch].score:
            state.best_epoch, state.best_weights = row.epoch, self._weights()
        state.epoch, state.block, state.step = row.epoch + 1, 0, 0
        state.loss_sum, state.triplets, state.looked_at = 0.0, 0, 0
        self._save()
        self.on_epoch(row)

    def _run_block(self, block: np.ndarray) -> None:
        steps = self._mine(block)
        images = decode_ahead((self._images(step) for step in steps), self.runtime.workers, ahead=2)
        label = f"epoch {self.state.epoch}: learning"
        for step, pixels in progress(zip(steps, images, strict=True), len(steps), label, "step"):
            self._learn(step, pixels)
        if not all(torch.isfinite(p).all() for p in self.model.parameters()):
            raise self._diverged("a weight became NaN or infinite")

    def _mine(self, block: np.ndarray) -> list[list[Tuple]]:
        """The tuples of each step, by the descriptors of the weights as they are now."""
        state, train = self.state, self.data.train
        database = self._describe("database", train.database, None)
        queries = self._describe("queries", train.queries, block)
        steps, rules, allowed = [], self.settings.rules(), self.data.candidates
        for start in range(0, len(block), self.settings.queries_a_step):
            tuples = []
            for query in block[start : start + self.settings.queries_a_step].tolist():
                remembered = state.hardest[query].numpy()
                found = mine(
                    query, queries[query], database, allowed, remembered, rules, state.epoch
                )
                self._remember(query, found.hardest)
                tuples += [found.tuple] if found.tuple else []
            steps += [tuples] if tuples else []
        return steps

    def _remember(self, query: int, hardest: np.ndarray) -> None:
        self.state.hardest[query] = -1
        self.state.hardest[query, : len(hardest)] = torch.from_numpy(hardest)
        self.state.looked_at += len(hardest)

    def _images(self, step: Sequence[Tuple]) -> list[tuple[ImageSource, int]]:
        """Queries first, then each database image of the step once."""
        train = self.data.train
        return [(train.queries, t.query) for t in step] + [
            (train.database, row) for row in database_rows(step).tolist()
        ]

    def _learn(self, step: Sequence[Tuple], pixels: list[np.ndarray]) -> None:
        state, settings = self.state, self.settings
        vectors = describe_images(self.model, pixels, self.device)
        query, positive, negative = triplet_places(step)
        loss = triplet_loss(
            vectors[query], vectors[positive], vectors[negative], settings.margin, settings.distance
        )
        value = loss.item()
        state.step += 1
        if not np.isfinite(value):
            raise self._diverged(f"the loss became {value}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        state.loss_sum += value * len(negative)
        state.triplets += len(negative)

    def _diverged(self, what: str) -> UserError:
        return UserError(
            f"{what} in epoch {self.state.epoch}, step {self.state.step}: the state before it is"
            f" kept in {self.scratch.folder}; lower train.learning_rate"
            f" (now {self.settings.learning_rate:g}) and run again."
        )

    def _validate(self) -> dict[str, float]:
        val = self.data.val
        queries = self._describe("val-queries", val.queries, None)
        database = self._describe("val-database", val.database, None)
        found = search(
            queries, database, max(VALIDATION_NS), self.runtime.memory_bytes, self.runtime.cores
        )
        right = is_right(
            found.rows,
            val.queries.index.positions,
            val.database.index.positions,
            self.data.val_radius_m,
        )
        return {f"recall@{n}": value for n, value in recall_at(right, VALIDATION_NS).items()}

    def _describe(self, name: str, source: ImageSource, rows: np.ndarray | None) -> np.ndarray:
        """Descriptors by row, on disk below the scratch folder: a set need not fit into memory."""
        self.scratch.folder.mkdir(parents=True, exist_ok=True)
        shape = (len(source.index), self.model.dim)
        target = np.memmap(self.scratch.folder / f"{name}.f32", np.float32, "w+", shape=shape)
        rows = np.arange(len(source.index)) if rows is None else rows
        label = f"epoch {self.state.epoch}: describing {name}"
        describe_into(target, self.model, source, rows, self.device, self.runtime, label)
        return target

    def _weights(self) -> dict[str, Tensor]:
        return {name: t.detach().cpu().clone() for name, t in self.model.state_dict().items()}

    def _fresh(self) -> State:
        shape = (len(self.data.train.queries.index), self.settings.negatives)
        weights = self._weights()
        return State(weights, weights, torch.full(shape, -1, dtype=torch.int64))

    def _restored(self) -> State | None:
        kept = self.scratch.load()
        if kept is None:
            return None
        state = State(**kept)
        self.model.load_state_dict(state.weights)
        self.optimizer.load_state_dict(copy.deepcopy(state.optimizer))
        return state

    def _save(self) -> None:
        self.state.weights = self._weights()
        self.state.optimizer = self.optimizer.state_dict()
        self.scratch.save(vars(self.state))


def make_optimizer(model: PlaceModel, settings: TrainSettings) -> torch.optim.Optimizer:
    """Over the layers that learn; all others are frozen."""
    learning = trainable_children(model.architecture.backbone, settings.first_layer)
    for name, child in model.backbone.named_children():
        child.requires_grad_(name in learning)
    parameters = [p for p in model.parameters() if p.requires_grad]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=settings.momentum, weight_decay=decay)


def epoch_blocks(queries: np.ndarray, epoch: int, settings: TrainSettings) -> list[np.ndarray]:
    """A fresh order of all queries, cut where descriptors are refreshed."""
    order = np.random.default_rng([settings.seed, epoch]).permutation(queries)
    size = settings.refresh_queries or len(order)
    return [order[start : start + size] for start in range(0, len(order), size)]


def database_rows(step: Sequence[Tuple]) -> np.ndarray:
    """Each database row that the step needs, once, rising."""
    return np.unique(np.concatenate([np.append(t.negatives, t.positive) for t in step]))


def triplet_places(step: Sequence[Tuple]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of query, positive and negative of each triplet among the step's images."""
    rows = database_rows(step)
    counts = [len(t.negatives) for t in step]
    query = np.repeat(np.arange(len(step)), counts)
    positive = np.searchsorted(rows, np.repeat([t.positive for t in step], counts))
    negative = np.searchsorted(rows, np.concatenate([t.negatives for t in step]))
    return query, len(step) + positive, len(step) + negative


def describe_images(
    model: PlaceModel, pixels: Sequence[np.ndarray], device: torch.device
) -> Tensor:
    """Descriptors [B, dim] with gradients of images that may differ in size."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(pixels):
        groups.setdefault(image.shape, []).append(place)
    stacks = (np.stack([pixels[place] for place in group]) for group in groups.values())
    vectors = [network_output(model, torch.from_numpy(stack).to(device)) for stack in stacks]
    places = np.concatenate([np.array(group) for group in groups.values()])
    return torch.cat(vectors)[torch.from_numpy(np.argsort(places)).to(device)]
