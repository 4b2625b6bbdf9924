// The map: database and queries by outcome, and one query in detail.
"use strict";

page.views.map = (() => {
  const SMALL_AT = 3000; // queries, from which on marks are smaller
  const TILES = "https://tile.openstreetmap.org/{z}/{x}/{y}.png";
  let map = null;
  let layer = null;
  let tiles = null;
  let shown = null; // {data, pixels, place, isGeographic}
  let selected = -1;

  const outcomeOf = (query) =>
    page.trust.isAnswered(query) ? page.category(shown.data.answers, query) : "unsure";

  function paintGround(context, view) {
    const { database } = shown.pixels;
    const dot = database.length > 40000 ? 2 : 4;
    context.fillStyle = page.colour("database");
    for (let row = 0; row < database.length; row += 2) {
      const x = database[row] * view.scale - view.left;
      const y = database[row + 1] * view.scale - view.top;
      const isInside = x > -dot && y > -dot && x < view.width + dot && y < view.height + dot;
      if (isInside) context.fillRect(x - dot / 2, y - dot / 2, dot, dot);
    }
  }

  function paint(context, view) {
    const { pixels } = shown;
    const at = (points, n) => [
      points[2 * n] * view.scale - view.left,
      points[2 * n + 1] * view.scale - view.top,
    ];
    const inside = ([x, y]) => x > -10 && y > -10 && x < view.width + 10 && y < view.height + 10;
    if (selected >= 0) lines(context, (points, n) => at(points, n));
    const size = shown.data.set.count > SMALL_AT ? 11 : 16;
    const order = [
      "unsure",
      "correct",
      "unanswerable",
      "nothing_found",
      "lower_rank",
      "near_miss",
      "far",
    ];
    const sprites = order.map((name) => page.sprite(name, size));
    const groups = order.map(() => []);
    for (let query = 0; query < shown.data.set.count; query++)
      groups[order.indexOf(outcomeOf(query))].push(query);
    groups.forEach((queries, number) => {
      for (const query of queries) {
        const place = at(pixels.queries, query);
        if (inside(place))
          context.drawImage(sprites[number], place[0] - size / 2, place[1] - size / 2, size, size);
      }
    });
    if (selected >= 0) ring(context, at(pixels.queries, selected));
  }

  function ring(context, [x, y]) {
    context.beginPath();
    context.arc(x, y, 12, 0, 2 * Math.PI);
    context.lineWidth = 3;
    context.strokeStyle = page.colour("ink");
    context.stroke();
  }

  // From the selected query to its first result, dashed if it is wrong, and to the right image.
  function lines(context, at) {
    const { answers } = shown.data;
    const first = answers.rows[selected * answers.columns];
    const isRight = answers.hits[selected * answers.columns] === 1;
    const ends = [
      [first, isRight ? "correct" : "far", isRight ? [] : [6, 5]],
      [answers.right[selected], "correct", []],
    ];
    for (const [row, colour, dash] of ends) {
      if (row < 0) continue;
      context.beginPath();
      context.setLineDash(dash);
      context.lineWidth = 2.5;
      context.strokeStyle = page.colour(colour);
      context.moveTo(...at(shown.pixels.queries, selected));
      context.lineTo(...at(shown.pixels.database, row));
      context.stroke();
    }
    context.setLineDash([]);
  }

  function build(set) {
    map?.remove();
    [map, layer, tiles] = [null, null, null];
    const isGeographic = set.degrees !== null;
    page.$("tiles").disabled = !isGeographic;
    page.$("tiles").checked = false;
    page.$("tiles").parentElement.hidden = !isGeographic;
    if (!set.metres) return null;
    const place = placeOf(set, isGeographic);
    const crs = isGeographic ? L.CRS.EPSG3857 : L.CRS.Simple;
    const counts = { queries: set.count, database: set.names.database.length };
    const pixels = Object.fromEntries(
      Object.entries(counts).map(([side, count]) => [
        side,
        page.atZoomZero(crs, count, (at) => place(side, at)),
      ]),
    );
    map = L.map(page.$("canvas"), {
      crs,
      zoomSnap: 0.25,
      minZoom: isGeographic ? 2 : -8,
      maxZoom: isGeographic ? 20 : 6,
      attributionControl: true,
      zoomAnimation: false,
      fadeAnimation: false,
    });
    map.attributionControl.setPrefix(false);
    L.control.scale({ imperial: false }).addTo(map);
    map.on("click", (event) => select(nearest(event.containerPoint)));
    return { pixels, place, isGeographic };
  }

  const placeOf = (set, isGeographic) => {
    const of = isGeographic ? set.degrees : set.metres;
    const unit = isGeographic ? 1e-7 : 1;
    return (side, at) => ({ lat: of[side][2 * at + 1] * unit, lng: of[side][2 * at] * unit });
  };

  function fit() {
    const bounds = L.latLngBounds([]);
    for (const [side, count] of [
      ["queries", shown.data.set.count],
      ["database", shown.data.set.names.database.length],
    ]) {
      for (let at = 0; at < count; at++) {
        const { lat, lng } = shown.place(side, at);
        if (Number.isFinite(lat)) bounds.extend([lat, lng]);
      }
    }
    if (bounds.isValid()) map.fitBounds(bounds.pad(0.03), { animate: false });
    else map.setView([0, 0], 0);
  }

  function nearest(point) {
    const origin = map.getPixelOrigin().add(map.containerPointToLayerPoint(point));
    const scale = 2 ** map.getZoom();
    let [best, least] = [-1, 20 ** 2];
    const { queries } = shown.pixels;
    for (let query = 0; query < queries.length / 2; query++) {
      const apart =
        (queries[2 * query] * scale - origin.x) ** 2 +
        (queries[2 * query + 1] * scale - origin.y) ** 2;
      const isBetter = apart < least || (apart === least && best >= 0 && isWorse(query, best));
      if (isBetter) [best, least] = [query, apart];
    }
    return best;
  }

  // Of queries at one place, a mistake is shown rather than a right answer.
  const isWorse = (query, other) => {
    const { hits, columns } = shown.data.answers;
    return hits[query * columns] < hits[other * columns];
  };

  function select(query, isMoved = false) {
    selected = query;
    const panel = query < 0 ? hint() : page.queryPanel(shown.data, query);
    page.$("map-query").replaceChildren(panel);
    if (query >= 0 && !isPhone()) panel.scrollIntoView({ block: "nearest" });
    if (!map) return;
    const place = query < 0 ? null : shown.place("queries", query);
    const isAway = Number.isFinite(place?.lat) && !map.getBounds().contains(place);
    if (isMoved && isAway) map.panTo(place, { animate: false });
    layer?.redraw();
  }

  const isPhone = () => matchMedia("(max-width: 900px)").matches;

  const hint = () => page.el("p", { className: "note" }, "Click a query to see its results.");

  function drawCounts() {
    const { set } = shown.data;
    const counts = {};
    for (let query = 0; query < set.count; query++) {
      const outcome = outcomeOf(query);
      counts[outcome] = (counts[outcome] ?? 0) + 1;
    }
    const isRare = (name) => ["unanswerable", "nothing_found", "unsure"].includes(name);
    const names = [...page.summary.categories, "unsure"];
    const wanted = names.filter((name) => counts[name] || !isRare(name));
    const item = (name) =>
      page.el(
        "li",
        {},
        page.outcomeText(name),
        page.el("b", { className: `count-${name}` }, String(counts[name] ?? 0)),
      );
    page.$("legend").replaceChildren(...wanted.map(item));
  }

  function search(event) {
    event.preventDefault();
    const wanted = page.$("search-name").value.trim().toLowerCase();
    const names = shown.data.set.names.queries;
    for (let step = 1; wanted && step <= names.length; step++) {
      const query = (selected + step) % names.length;
      if (names[query].toLowerCase().includes(wanted)) return select(query, true);
    }
    page
      .$("map-query")
      .replaceChildren(
        page.el("p", { className: "note", role: "status" }, "No query has this in its name."),
      );
  }

  function start() {
    page.trust.start(() => {
      drawCounts();
      redrawSoon();
    });
    page.$("search").addEventListener("submit", search);
    page.$("tiles").addEventListener("change", () => {
      tiles?.remove();
      tiles = page.$("tiles").checked
        ? L.tileLayer(TILES, {
            maxZoom: 20,
            maxNativeZoom: 19,
            attribution: "© OpenStreetMap contributors",
          }).addTo(map)
        : null;
    });
  }

  const redrawSoon = page.eachFrame(() => layer?.redraw());

  async function show() {
    const { set, run } = page.state;
    const data = await page.loadRun(set, run);
    if (set !== page.state.set || run !== page.state.run) return;
    const isSame = shown?.data.set === data.set;
    if (!isSame) {
      shown = { data, ...build(data.set) };
      selected = -1;
    }
    shown.data = data;
    page.$("canvas").parentElement.hidden = !map;
    page.$("map-note").textContent = map ? "" : "This set has no positions.";
    page.trust.show(data);
    if (map && !isSame) {
      map.invalidateSize();
      fit();
      layer = new page.PointLayer(paintGround, paint).addTo(map);
    }
    map?.invalidateSize();
    drawCounts();
    select(selected);
  }

  const recolour = () => layer?.redraw();

  // Where a query is in the map's window.
  const pointOf = (query) => map.latLngToContainerPoint(shown.place("queries", query));

  return { start, show, recolour, pointOf };
})();
