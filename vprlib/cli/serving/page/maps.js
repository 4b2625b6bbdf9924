// The maps of the service, and what the page offers for the one that is chosen.
"use strict";

page.maps = (() => {
  let known = [];

  const keyOf = (map) => JSON.stringify([map.set, map.variant, map.code]);
  const isKnown = () => known.length > 0;

  function offer(told) {
    const entries = told.maps.map((map) => [keyOf(map), `${map.set}, ${map.variant}, ${map.code}`]);
    page.options(page.$("map-of"), entries, keyOf(told.default));
    page.$("which").hidden = entries.length < 2;
    known = told.maps;
    follow();
  }

  // What has become of the maps meanwhile; the choice stays.
  async function learn() {
    try {
      const told = await (await page.ask("/v1/maps")).json();
      if (!isKnown()) return offer(told);
      known = told.maps;
      follow();
    } catch {
      // an answer is there without it
    }
  }

  function follow() {
    const own = known.find((map) => keyOf(map) === page.$("map-of").value);
    page.$("around").hidden = !own?.geographic;
    page.$("about").textContent = own?.images ? `${page.plural(own.images, "image")} of ${own.set}` : "";
    const why = own?.waiting?.replace(/\.$/, "");
    page.$("newer").textContent = why ? `This is still the older map: ${why}.` : "";
  }

  // The fields of a request that the options give.
  function fields() {
    const [set, variant, code] = JSON.parse(page.$("map-of").value || "[]");
    const near = page.$("around").hidden ? "" : page.$("near").value.replace(/\s/g, "");
    return { set, variant, code, k: page.$("count").value, near, within: near && page.$("within").value };
  }

  page.$("map-of").addEventListener("change", follow);
  return { offer, learn, fields, isKnown };
})();
