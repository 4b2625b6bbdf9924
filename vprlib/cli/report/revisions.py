"""Runs of other revisions or experiments on a set of the workspace: the option --with."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import cast

from vprlib.cli.choice import Choice
from vprlib.cli.comparison.runs import (
    Files,
    check_comparable,
    different_params,
    files_of,
    parse_run,
)
from vprlib.cli.report.results import Params, Result, merged, on_index, read_result
from vprlib.cli.report.second import with_second_look
from vprlib.pipeline.params import PARAMS_PATH, JsonObject, UserError, look_up, read_params_file


@dataclass(frozen=True)
class Revision:
    """What one --with names: all runs of a revision, or those of one variant or code."""

    name: str
    files: Files
    params: JsonObject
    variant: str | None  # None: all
    code: str | None

    def names(self, place: str, chosen: str | None = None) -> list[str]:
        return cast(list[str], look_up(self.params, place)) if chosen is None else [chosen]

    def choices(self, dataset: str) -> list[Choice]:
        variants, codes = self.names("variants", self.variant), self.names("codes", self.code)
        return [Choice(dataset, variant, code) for variant in variants for code in codes]


@contextmanager
def opened_revisions(texts: Sequence[str]) -> Iterator[list[Revision]]:
    """What the options --with name; their files can be read inside the context."""
    specs = {text: parse_run(text, ()) for text in texts}
    with ExitStack() as stack:
        found = []
        for text, spec in specs.items():
            if spec.revision is None:
                raise UserError(
                    f"--with is '{text}', which names no other revision: name a commit, a branch, a"
                    " tag or a DVC experiment; runs of the workspace are always on the page."
                )
            files = stack.enter_context(files_of(spec.revision))
            params = read_params_file(files(PARAMS_PATH))
            found.append(Revision(spec.revision, files, params, spec.variant, spec.code))
        yield found


def read_others(
    revisions: Sequence[Revision], results: Sequence[Result], p: Params
) -> tuple[list[Result], list[str]]:
    """The workspace's results of a set and those of other revisions, on one database.

    Also a sentence for each run that cannot be shown: its files are not to be had, or its queries
    or rules are others.
    """
    first, found, problems = results[0], list(results), []
    for revision in revisions:
        if first.choice.dataset not in revision.names("eval_on"):
            problems.append(f"{revision.name} does not evaluate {first.choice.dataset}")
            continue
        for choice in revision.choices(first.choice.dataset):
            try:
                other = read_result(revision.files, choice, p, revision.params, revision.name)
                check_comparable(first.run, other.run)
                looks = with_second_look(revision.files, other, p, revision.params)
            except UserError as error:
                name = f"{revision.name}:{choice.variant}/{choice.code}"
                problems.append(f"{name} on {choice.dataset} is not shown: {error}".rstrip("."))
            else:
                for look in looks:
                    found = _joined(found, look)
    return found, problems


def _joined(results: Sequence[Result], other: Result) -> list[Result]:
    """All on one database, which has the images of both."""
    first = results[0]
    database, places = merged(first.found.database, other.found.database)
    moved = replace(
        other,
        right=places[other.right],
        scored=replace(other.scored, found=replace(other.found, rows=places[other.found.rows])),
    )
    return [on_index(result, database, first) for result in (*results, moved)]


def changed_params(revision: Revision, first: Result) -> list[tuple[str, str, str]]:
    """Where its parameters differ: place, value of the workspace, value of the revision."""
    theirs = replace(first.run, params=revision.params)
    found = different_params(first.run, theirs)
    return [(place, str(here), str(there)) for place, (here, there) in found.items()]
