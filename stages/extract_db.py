"""Describes the database images of a set with one variant of the network."""

from vprlib.extract.extraction import SideParams, describe_side
from vprlib.pipeline import launch


def main(dataset: str, variant: str) -> dict[str, float]:
    return describe_side("db", dataset, variant, SideParams.load(dataset=dataset))


if __name__ == "__main__":
    launch.run(main)
