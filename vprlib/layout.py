"""The `layout` section of a data set: how its specification meets the files on disk."""

from typing import Literal

from pydantic import Field

from vprlib.params import Section


class Layout(Section):
    """Which folder the names start from, and what a dialect leaves open."""

    database_dir: str = ""  # inside the folder of the data set
    queries_dir: str = ""  # Pittsburgh's query names start from queries_real
    ground_truth: Literal["hard", "soft"] = "soft"  # which matrix is right, where there are two
    # for dialects without radii of their own: CSV, @utm@ names; a .mat keeps its own
    positive_radius_m: float = Field(25.0, gt=0)
    training_radius_m: float = Field(10.0, gt=0)
