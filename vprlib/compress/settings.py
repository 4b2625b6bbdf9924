"""What is done to a network to make a smaller or faster one: the entries of `variant_defs`."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, Self

from pydantic import Field, model_validator

from vprlib.pipeline.params import PARAMS_PATH, Section, Seed, UserError
from vprlib.pipeline.switches import OWN


class Prune(Section):
    """Removes whole channels, which makes file and computation smaller."""

    fraction: float = Field(gt=0, lt=1)  # of the channels of each layer
    by: Literal["magnitude", "change"]  # of filters, or of the descriptor
    images: int | None = Field(None, ge=1, le=10**9)  # of the training database, used by `change`
    seed: Seed | None = None  # of what `change` draws

    @model_validator(mode="after")
    def _looks_where_it_must(self) -> Self:
        given = (self.images is not None, self.seed is not None)
        if self.by == "change" and not all(given):
            raise ValueError("by change looks at images: give `images` and `seed`")
        if self.by == "magnitude" and any(given):
            raise ValueError("by magnitude looks at no image: leave out `images` and `seed`")
        return self


class Sparsify(Section):
    """Sets single weights to zero and leaves them out of the file; the computation stays."""

    fraction: float = Field(gt=0, lt=1)  # of each filter bank


class Finetune(Section):
    """Training of chosen layers; all other settings are those of `train`."""

    epochs: int = Field(ge=1, le=10**6)
    learning_rate: float = Field(gt=0, le=1e6)
    first_layer: str | None  # this one and all above learn; null: all


class Quantise(Section):
    """Convolutions compute in int8 from here on, by ONNX Runtime."""

    to: Literal["int8"]
    images: int = Field(ge=1, le=10**9)  # of the training database, for the ranges of the maps
    seed: Seed


USUAL = Quantise(to="int8", images=200, seed=1)


class Round(Section):
    """Weights lie in 16 bits; with bfloat16 convolutions compute in it too."""

    to: Literal["float16", "bfloat16"]


class Step(Section):
    """One of these."""

    prune: Prune | None = None
    sparsify: Sparsify | None = None
    finetune: Finetune | None = None
    quantise: Quantise | None = None
    round: Round | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1 or getattr(self, self.name) is None:
            raise ValueError(f"a step should be one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def name(self) -> str:
        return next(iter(self.model_fields_set))

    @property
    def what(self) -> Section:
        return getattr(self, self.name)

    @property
    def ends(self) -> bool:
        """Nothing can follow: the weights are no longer what could learn or be chosen from."""
        return self.name in ("quantise", "round")


def check_variants(
    variants: Sequence[str],
    derived: Mapping[str, str],
    defs: Mapping[str, Sequence[Step]],
    given: Sequence[str],
) -> None:
    """Each derived variant is defined, made from one that exists, by steps that fit together.

    `given` names those that other stages make. What no variant in use needs is refused.
    """
    taken = dict.fromkeys((*OWN, *given))
    for name, steps in defs.items():
        if name in taken or not name.isidentifier():
            raise UserError(
                f"{PARAMS_PATH}: variant_defs names '{name}', but a variant is part of file names:"
                f" use letters, digits and _, and none of {', '.join(taken)}."
            )
        if not steps:
            raise UserError(f"{PARAMS_PATH}: variant_defs.{name} needs at least one step.")
    for name, base in derived.items():
        if name not in defs:
            raise UserError(
                f"{PARAMS_PATH}: derived makes '{name}', which variant_defs does not define: it"
                f" has {', '.join(defs) or 'none'}."
            )
        if base not in (*given, *derived):
            raise UserError(
                f"{PARAMS_PATH}: derived makes {name} from '{base}': there are"
                f" {', '.join([*given, *derived])}."
            )
    needed = set()
    for name in variants:
        if name in defs and name not in derived:
            raise UserError(
                f"{PARAMS_PATH}: variants names '{name}', but derived does not say what it is made"
                f" from: add `{name}: trained` there."
            )
        if name in derived:
            needed |= set(lineage(name, derived))
            _check_order(name, steps_of(name, derived, defs))
    for name in derived:
        if name not in needed:
            raise UserError(
                f"{PARAMS_PATH}: derived makes '{name}', which no variant in use needs: add it to"
                " variants, or remove it."
            )


def lineage(name: str, derived: Mapping[str, str]) -> list[str]:
    """The derived variants that it is made from, in the order they are made, and itself last."""
    line = [name]
    while derived[line[0]] in derived:
        line.insert(0, derived[line[0]])
        if line[0] in line[1:]:
            raise UserError(f"{PARAMS_PATH}: derived goes in a circle: {' of '.join(line[::-1])}.")
    return line


def steps_of(
    name: str, derived: Mapping[str, str], defs: Mapping[str, Sequence[Step]]
) -> list[Step]:
    """All from the network that another stage makes."""
    return [step for part in lineage(name, derived) for step in defs[part]]


def pruned_of(
    name: str, derived: Mapping[str, str], defs: Mapping[str, Sequence[Step]]
) -> tuple[float, ...]:
    """What fractions of channels go, one after the other."""
    steps = steps_of(name, derived, defs) if name in derived else []
    return tuple(step.prune.fraction for step in steps if step.prune is not None)


def _check_order(name: str, steps: Sequence[Step]) -> None:
    place = f"{PARAMS_PATH}: the steps of {name}"
    for before, after in pairwise(steps):
        if not before.ends:
            continue
        to = getattr(before.what, "to", "")
        if after.ends:
            raise UserError(f"{place} quantise twice: its weights are {to} already.")
        raise UserError(
            f"{place} {after.name} a network that is {to} already, which is impossible:"
            f" {after.name} before."
        )
    sparse = [n for n, step in enumerate(steps) if step.name == "sparsify"]
    if len(sparse) > 1:
        raise UserError(f"{place} sparsify twice: give the whole fraction at once.")
    if sparse and any(step.name == "prune" for step in steps[sparse[0] :]):
        raise UserError(f"{place} prune a network that is sparse already: prune first.")
