// Points on a Leaflet map, drawn on one canvas: fast enough for a hundred thousand.
"use strict";

const PADDING = 0.3; // of the window on each side, so that a drag shows points at once

// A layer that is given two functions of a context and a view: the first paints the ground, and
// the second what stands on it. A view says how pixels at zoom 0 become those of the canvas.
page.PointLayer = L.Layer.extend({
  initialize(paintGround, paint) {
    this.paintGround = paintGround;
    this.paint = paint;
  },

  onAdd(map) {
    this.canvas = L.DomUtil.create("canvas", "points", map.getPane("overlayPane"));
    map.on("moveend viewreset resize", this.redraw, this);
    this.redraw();
  },

  onRemove(map) {
    this.canvas.remove();
    map.off("moveend viewreset resize", this.redraw, this);
  },

  redraw() {
    const map = this._map;
    if (!map) return;
    const size = map.getSize();
    const pad = size.multiplyBy(PADDING).round();
    const { x: width, y: height } = size.add(pad.multiplyBy(2));
    const corner = map.containerPointToLayerPoint(pad.multiplyBy(-1));
    L.DomUtil.setPosition(this.canvas, corner);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    const origin = map.getPixelOrigin().add(corner);
    const view = { scale: 2 ** map.getZoom(), left: origin.x, top: origin.y, width, height };
    this.prepareGround(view);
    const context = sized(this.canvas, view);
    context.drawImage(this.ground, 0, 0, width, height);
    this.paint(context, view);
  },

  // The ground stays as it is while only the points in front of it change.
  prepareGround(view) {
    const key = JSON.stringify([view, devicePixelRatio, page.colour("database")]);
    if (key === this.groundKey) return;
    this.groundKey = key;
    this.ground = document.createElement("canvas");
    this.paintGround(sized(this.ground, view), view);
  },
});

// A canvas of that size in the pixels of the screen, cleared.
function sized(canvas, { width, height }) {
  const ratio = devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
}

// A picture of a mark, to be copied to each query.
page.sprite = (outcome, size) => {
  const ratio = devicePixelRatio || 1;
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size * ratio;
  const context = canvas.getContext("2d");
  const path = new Path2D(page.outcomes[outcome].shape);
  context.setTransform(
    (size / 16) * ratio,
    0,
    0,
    (size / 16) * ratio,
    (size / 2) * ratio,
    (size / 2) * ratio,
  );
  context.lineWidth = outcome === "unsure" ? 2 : 1.5;
  context.strokeStyle = page.colour(outcome === "unsure" ? "unsure" : "paper");
  context.fillStyle = page.colour(outcome);
  if (outcome !== "unsure") context.fill(path);
  context.stroke(path);
  return canvas;
};

// Pixels at zoom 0 of places in pairs; NaN where a place is unknown.
page.atZoomZero = (crs, count, place) => {
  const pixels = new Float64Array(2 * count);
  for (let at = 0; at < count; at++) {
    const point = crs.latLngToPoint(place(at), 0);
    pixels[2 * at] = point.x;
    pixels[2 * at + 1] = point.y;
  }
  return pixels;
};
