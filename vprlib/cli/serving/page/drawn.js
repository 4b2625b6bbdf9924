// The map of one answer: the estimate, its spread, and a mark for each result.
"use strict";

page.drawn = (() => {
  const TILES = "https://tile.openstreetmap.org/{z}/{x}/{y}.png";
  let map = null;
  let tiles = null;
  let pins = [];

  const placeOf = (of, isGeographic) => {
    const place = isGeographic ? [of.latitude, of.longitude] : [of.northing, of.easting];
    return place.every(Number.isFinite) ? place : null;
  };

  const classOf = (result) => `pin${result.place === "A" ? " first" : ""}`;

  function showTiles() {
    if (page.$("tiles").checked) {
      tiles = L.tileLayer(TILES, { maxZoom: 19, attribution: "© OpenStreetMap contributors" });
      tiles.addTo(map);
    } else {
      tiles?.remove();
    }
  }

  function mark(place, name, icon, settings) {
    const made = L.marker(place, { icon: L.divIcon(icon), keyboard: false, ...settings }).addTo(map);
    made.getElement().setAttribute("role", "img");
    made.getElement().setAttribute("aria-label", name);
    return made;
  }

  function pin(result, place, chosen) {
    const label = page.el("span", {}, result.place);
    const icon = { className: classOf(result), html: label, iconSize: [26, 26] };
    const made = mark(place, `Result ${result.rank}, place ${result.place}`, icon, {});
    return made.on("click mouseover", () => chosen(result.rank - 1));
  }

  function estimate(e, here) {
    const style = { className: "spread", weight: 2, fillOpacity: 0.15, interactive: false };
    L.circle(here, { ...style, radius: Math.max(e.spread_m, 2) }).addTo(map);
    const sight = page.$("legend").querySelector("svg").cloneNode(true);
    const icon = { className: "estimate", html: sight, iconSize: [56, 56] };
    mark(here, "Estimated position", icon, { interactive: false, zIndexOffset: 1000 });
  }

  function draw(answer, isGeographic, chosen) {
    map?.remove();
    [map, tiles, pins] = [null, null, []];
    const places = answer.results.map((result) => placeOf(result, isGeographic));
    const isThere = places.some((place) => place !== null);
    const here = answer.estimate && placeOf(answer.estimate, isGeographic);
    page.$("canvas").hidden = page.$("legend").hidden = !isThere;
    page.$("legend-estimate").hidden = !here;
    page.$("tiles-label").hidden = !isThere || !isGeographic;
    page.$("tiles").checked = false;
    if (!isThere) return;
    map = L.map(page.$("canvas"), {
      crs: isGeographic ? L.CRS.EPSG3857 : L.CRS.Simple,
      zoomSnap: 0.25,
      minZoom: isGeographic ? 2 : -8,
      maxZoom: isGeographic ? 19 : 5,
      zoomAnimation: false,
      fadeAnimation: false,
      markerZoomAnimation: false,
    });
    map.attributionControl.setPrefix(false);
    L.control.scale({ imperial: false }).addTo(map);
    const bounds = L.latLngBounds(places.filter((place) => place !== null));
    map.fitBounds(bounds.pad(0.25), { animate: false, maxZoom: isGeographic ? 18 : 3 });
    pins = answer.results.map((result, at) => places[at] && pin(result, places[at], chosen));
    if (here) estimate(answer.estimate, here);
  }

  function light(lit) {
    pins.forEach((mark, at) => mark?.getElement()?.classList.toggle("lit", at === lit));
  }

  return { draw, light, showTiles, classOf };
})();
