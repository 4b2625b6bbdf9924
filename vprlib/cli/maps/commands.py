"""Fills maps in Qdrant and takes their versions over: `vpr map push|list|switch|drop`."""

from dataclasses import replace
from functools import partial
from typing import Annotated

import numpy as np
import typer

from vprlib.cli import options
from vprlib.cli.choice import SetParams, choose
from vprlib.cli.finding.searching import PlaceParams
from vprlib.cli.maps.filling import facts_of, payloads_of
from vprlib.cli.output import aligned, echo_json
from vprlib.images.index import check_order, read_index
from vprlib.pipeline.params import JsonObject, UserError
from vprlib.places.projection import degrees_of
from vprlib.stores import store
from vprlib.stores.address import open_store
from vprlib.stores.push import push as push_rows
from vprlib.stores.store import Store

Home = Annotated[
    str,
    typer.Argument(metavar="MAP", help="a folder, or an address and a name: http://host:6334/city"),
]
AVersion = Annotated[str, typer.Argument(metavar="VERSION", help="as `vpr map list` prints it")]


def push(
    home: Home,
    dataset: options.Dataset = None,
    variant: options.Variant = None,
    code: options.Code = None,
    is_taken: Annotated[
        bool, typer.Option("--switch", help="also take it over, in place of the live version")
    ] = False,
    has_graph: Annotated[
        bool, typer.Option("--graph", help="build a graph (HNSW) for `vpr find --approximate`")
    ] = False,
) -> None:
    """Write the descriptors of a set into a map, as a version beside those that it has.

    Run it again after it was cut off: it goes on. The first version is taken over at once, later
    ones by --switch or by `vpr map switch`.
    """
    where = open_store(home)
    choice = choose(dataset, variant, code)
    p = SetParams.load(dataset=choice.dataset)
    place = PlaceParams.load(dataset=choice.dataset)
    index = read_index(choice.index_path)
    check_order(choice.descriptors_path, index)
    degrees = degrees_of(index, place.zone)
    with choice.descriptors("db", len(index)) as stored:
        kept = np.setdiff1d(np.arange(len(index)), choice.failed_rows())
        if not len(kept):
            raise UserError(f"{choice.title} has no image that could be read.")
        facts = facts_of(choice, index, degrees, p.images, stored, len(kept))
        facts = replace(facts, has_graph=has_graph)
        version = where.growing(facts)
        try:
            done = push_rows(version, stored, kept, partial(payloads_of, index, degrees))
        finally:
            version.close()
    there = f" ({done.before} were there)" if done.before else ""
    typer.echo(f"{home}: {done.rows} rows of {facts.title} as version {facts.version}{there}")
    live = where.live()
    if is_taken or live is None:
        store.switch(where, facts.version)
        typer.echo(f"{facts.version} is live")
    elif live != facts.version:
        typer.echo(f"{live} is live; take it over by `vpr map switch {home} {facts.version}`")


def list_versions(home: Home, as_json: options.AsJson = False) -> None:
    """List the versions of a map, the oldest first."""
    where = open_store(home)
    live = where.live()
    found = sorted((_told(where, v, live) for v in where.versions()), key=lambda t: t["made"])
    if as_json:
        echo_json(found)
        return
    if not found:
        typer.echo(f"{home} holds no version: fill it by `vpr map push`.", err=True)
        return
    head = ["version", "", "rows", "made", "precision", "of"]
    rows = [
        [t["version"], "live" if t["is_live"] else "", _rows(t), t["made"], t["precision"], t["of"]]
        for t in found
    ]
    typer.echo(aligned([head, *rows], left=(0, 1, 3, 4, 5)))


def switch(home: Home, version: AVersion) -> None:
    """Set the live version of a map, in one step."""
    facts = store.switch(open_store(home), version)
    typer.echo(f"{home}: {version} is live, {facts.rows} rows of {facts.title}")


def drop(home: Home, version: AVersion) -> None:
    """Remove a version of a map that is not live."""
    store.drop(open_store(home), version)
    typer.echo(f"{home}: {version} is removed")


def _told(where: Store, version: str, live: str | None) -> JsonObject:
    """A version that cannot be read has a sentence in place of its set."""
    found: JsonObject = {"version": version, "is_live": version == live}
    try:
        opened = where.open(version)
    except UserError as error:
        unknown = {"stored": None, "rows": None, "made": "", "precision": "", "graph": None}
        return found | unknown | {"of": str(error)}
    try:
        facts, stored = opened.facts, opened.count()
    finally:
        opened.close()
    told = {"stored": stored, "rows": facts.rows, "made": facts.made, "precision": facts.precision}
    return found | told | {"graph": facts.has_graph, "of": facts.title}


def _rows(told: JsonObject) -> str:
    if told["rows"] is None:
        return "-"
    whole = told["stored"] == told["rows"]
    return str(told["rows"]) if whole else f"{told['stored']} of {told['rows']}"
