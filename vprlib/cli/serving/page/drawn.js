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

  function showTiles() {
    if (page.$("tiles").checked) {
      tiles = L.tileLayer(TILES, { maxZoom: 19, attribution: "© OpenStreetMap contributors" });
      tiles.addTo(map);
    } else {
      tiles?.remove();
    }
  }

  function pin(result, place, chosen) {
    const isFirst = result.place === "A";
    const icon = L.divIcon({
      className: `pin${isFirst ? " first" : ""}`,
      html: page.el("span", {}, String(result.rank)),
      iconSize: [26, 26],
    });
    const mark = L.marker(place, { icon, keyboard: false, alt: `Result ${result.rank}` });
    mark.on("click mouseover", () => chosen(result.rank - 1));
    return mark.addTo(map);
  }

  // False if there is nothing to draw.
  function draw(answer, isGeographic, chosen) {
    map?.remove();
    [map, tiles, pins] = [null, null, []];
    const places = answer.results.map((result) => placeOf(result, isGeographic));
    const isThere = places.some((place) => place !== null);
    page.$("canvas").hidden = !isThere;
    page.$("tiles-label").hidden = !isThere || !isGeographic;
    page.$("tiles").checked = false;
    if (!isThere) return false;
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
    const here = answer.estimate && placeOf(answer.estimate, isGeographic);
    if (here) {
      const colours = getComputedStyle(document.documentElement);
      const accent = colours.getPropertyValue("--accent").trim();
      const radius = Math.max(answer.estimate.spread_m, 2);
      const style = { color: accent, weight: 2, fillOpacity: 0.15, interactive: false };
      L.circle(here, { ...style, radius }).addTo(map);
    }
    pins = answer.results.map((result, at) => places[at] && pin(result, places[at], chosen));
    return true;
  }

  function light(lit) {
    pins.forEach((mark, at) => mark?.getElement()?.classList.toggle("lit", at === lit));
  }

  return { draw, light, showTiles };
})();
