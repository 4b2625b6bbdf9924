"""Pictures of results: a photograph with what was found, and the worst misses of a set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from vprlib.evaluate.failures import Outcomes, right_answer
from vprlib.evaluate.predictions import Predictions
from vprlib.images.batches import ImageSource
from vprlib.pipeline.arrays import image_png
from vprlib.places.truth import Truth

PER_ROW = 5  # results
TILE = (300, 225)  # pixels of a result
PHOTO = (400, 300)  # pixels of the photograph
GAP, LINE = 26, 22
PAPER, INK, PALE, ACCENT = "#fbfaf7", "#22252b", "#80858f", "#c2452d"
GOOD = "#2f7d4f"  # the title of a right answer
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class Panel:
    """A picture with the lines below it."""

    pixels: np.ndarray  # uint8 [H, W, 3]
    title: str
    notes: Sequence[str]
    colour: str = INK  # of the title, in rows


def sheet(photo: Panel, found: Sequence[Panel]) -> bytes:
    """The photograph on the left, results in rows of five on the right, best first, as PNG."""
    columns, rows = min(PER_ROW, len(found)), -(-len(found) // PER_ROW)
    across, down = TILE[0] + GAP, TILE[1] + GAP + _caption(found[0])
    left = PHOTO[0] + 3 * GAP
    height = GAP + max(PHOTO[1] + _caption(photo) + GAP, rows * down)
    page = Image.new("RGB", (left + columns * across, height), PAPER)
    _draw(page, photo, (GAP, GAP), PHOTO, ACCENT)
    rule = left - 3 * GAP // 2
    ImageDraw.Draw(page).line([(rule, GAP), (rule, height - GAP)], "#e2dfd8", 2)
    for place, panel in enumerate(found):
        at = (left + place % PER_ROW * across, GAP + place // PER_ROW * down)
        _draw(page, panel, at, TILE, INK)
    return image_png(page)


def rows_of(rows: Sequence[Sequence[Panel]], title: str) -> bytes:
    """Panels of one size in rows below a title, as PNG; a title alone where there are no rows."""
    columns = max((len(row) for row in rows), default=2)
    top = 2 * GAP + LINE
    down = TILE[1] + GAP + max((_caption(panel) for row in rows for panel in row), default=0)
    page = Image.new("RGB", (GAP + columns * (TILE[0] + GAP), top + len(rows) * down), PAPER)
    ImageDraw.Draw(page).text((GAP, GAP), title, INK, ImageFont.load_default(20))
    for number, row in enumerate(rows):
        for place, panel in enumerate(row):
            at = (GAP + place * (TILE[0] + GAP), top + number * down)
            _draw(page, panel, at, TILE, panel.colour)
    return image_png(page)


def _caption(panel: Panel) -> int:
    """Height in pixels of the lines below a picture."""
    return 8 + LINE * (1 + len(panel.notes))


def _draw(
    page: Image.Image, panel: Panel, at: tuple[int, int], size: tuple[int, int], colour: str
) -> None:
    """A centred picture, a title in colour, notes in grey."""
    picture = ImageOps.contain(Image.fromarray(panel.pixels), size, Image.Resampling.LANCZOS)
    spare = (size[0] - picture.width) // 2, (size[1] - picture.height) // 2
    page.paste(Image.new("RGB", size, "#efece5"), at)
    page.paste(picture, (at[0] + spare[0], at[1] + spare[1]))
    draw = ImageDraw.Draw(page)
    top = at[1] + size[1] + 8
    bold, small = ImageFont.load_default(18), ImageFont.load_default(14)
    draw.text((at[0], top), _fitted(panel.title, bold, size[0]), colour, bold)
    for number, note in enumerate(panel.notes, 1):
        draw.text((at[0], top + number * LINE + 3), _fitted(note, small, size[0]), PALE, small)


def _fitted(text: str, font: Font, width: int) -> str:
    """The text, or its end after an ellipsis, since names differ at their end."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"…{text}") > width:
        text = text[1:]
    return f"…{text}"


def misses(
    chosen: Sequence[int],
    found: Predictions,
    outcome: Outcomes,
    truth: Truth,
    queries: ImageSource,
    database: ImageSource,
    title: str,
) -> bytes:
    """A row for each miss: the query, the wrong answer, and the right one with its rank."""
    rows = []
    for query in chosen:
        wrong = int(found.rows[query, 0])
        right, rank = right_answer(found, outcome, truth, query)
        called = f"right, not among the first {int((found.rows[query] >= 0).sum())}"
        if rank:
            called = f"right, at rank {rank}   distance {found.distances[query, rank - 1]:.3f}"
        row = [Panel(_shown(queries, query), "query", (queries.index.names[query],))]
        for answer, heading, colour in (
            (wrong, f"answer   distance {found.distances[query, 0]:.3f}", ACCENT),
            (right, called, GOOD),
        ):
            notes = (_metres(found, query, answer), database.index.names[answer])
            row.append(Panel(_shown(database, answer), heading, notes, colour))
        rows.append(row)
    return rows_of(rows, f"{title}: the surest wrong answers{'' if rows else ': none'}")


def _shown(source: ImageSource, row: int) -> np.ndarray:
    """An image, or grey if it cannot be read: a picture must not stop a run."""
    found = source.pixels_or_problem(row)
    return np.full((3, 4, 3), 160, np.uint8) if isinstance(found, str) else found


def _metres(found: Predictions, query: int, row: int) -> str:
    metres = np.linalg.norm(found.database.positions[row] - found.queries.positions[query])
    return "position unknown" if np.isnan(metres) else f"{metres:.1f} m from the query"
