// The page: photographs come in, answers are shown.
"use strict";

(() => {
  const asked = { files: [], links: [], answers: null, map: null, chosen: 0 };
  let pictures = []; // links to small pictures, to be given back
  let number = 0; // of the request, so that a late answer to an earlier one is dropped

  const give = (links) => links.splice(0).forEach((link) => URL.revokeObjectURL(link));

  function say(state, problem = "", canRetry = false) {
    page.$("state").textContent = state;
    page.$("problem").textContent = problem;
    page.$("problem").hidden = !problem;
    page.$("again").hidden = !canRetry;
  }

  async function begin() {
    try {
      const told = await (await page.ask("/v1/maps")).json();
      page.$("token-form").hidden = true;
      offer(told);
      say("");
    } catch (error) {
      refuse(error);
    }
  }

  function offer(told) {
    const title = (map) => `${map.set}, ${map.variant}, ${map.code}`;
    const own = told.maps.find((map) => title(map) === title(told.default));
    page.options(
      page.$("map-of"),
      told.maps.map((map) => [JSON.stringify([map.set, map.variant, map.code]), title(map)]),
      JSON.stringify([told.default.set, told.default.variant, told.default.code]),
    );
    page.$("which").hidden = told.maps.length < 2;
    page.$("around").hidden = !own?.geographic;
    page.$("about").textContent = own ? `${page.plural(own.images, "image")} of ${own.set}` : "";
  }

  function refuse(error) {
    if (error.status === 401) {
      page.$("token-form").hidden = false;
      page.$("token").focus();
    }
    say("", error.message, asked.files.length > 0 && error.status !== 401);
  }

  async function locate(files) {
    const photographs = [...files].filter((file) => file.size > 0);
    if (!photographs.length) return;
    give(asked.links);
    Object.assign(asked, { files: photographs, answers: null, chosen: 0 });
    asked.links = photographs.map((file) => URL.createObjectURL(file));
    const own = ++number;
    page.$("answer").hidden = true;
    strip();
    say(`Asking about ${page.plural(photographs.length, "photograph")} …`);
    try {
      const found = await page.locate(photographs, fields());
      if (own !== number) return;
      Object.assign(asked, { answers: found.answers, map: found.map });
      say("");
      show(0);
    } catch (error) {
      if (own === number) refuse(error);
    }
  }

  function fields() {
    const [set, variant, code] = JSON.parse(page.$("map-of").value || "[]");
    const near = page.$("around").hidden ? "" : page.$("near").value.replace(/\s/g, "");
    return { set, variant, code, k: page.$("count").value, near, within: near && page.$("within").value };
  }

  function strip() {
    page.$("strip").hidden = asked.files.length < 2;
    const buttons = asked.files.map((file, at) => {
      const image = page.el("img", { src: asked.links[at], alt: file.name });
      const button = page.el("button", { type: "button", onclick: () => show(at) }, image);
      button.setAttribute("aria-pressed", at === asked.chosen);
      return page.el("li", {}, button);
    });
    page.$("strip").replaceChildren(...buttons);
  }

  function show(at) {
    if (!asked.answers) return;
    asked.chosen = at;
    const answer = asked.answers[at];
    strip();
    page.$("answer").hidden = false;
    page.$("photo").src = asked.links[at];
    page.$("told").replaceChildren(...told(answer));
    give(pictures);
    const buttons = answer.results.map((result) => entry(result));
    page.$("results").replaceChildren(...buttons.map((button) => page.el("li", {}, button)));
    page.drawn.draw(answer, asked.map.geographic, light);
  }

  function told(answer) {
    const parts = [page.el("p", { className: "small" }, answer.photograph)];
    const e = answer.estimate;
    if (e) {
      const isGeographic = e.latitude !== null;
      const here = isGeographic
        ? `${e.latitude.toFixed(6)}, ${e.longitude.toFixed(6)}`
        : `${e.easting.toFixed(1)}, ${e.northing.toFixed(1)} metres`;
      const agree =
        e.agree === 1
          ? `1 of ${page.plural(e.results, "result")}, no other agrees`
          : `within ${e.spread_m.toFixed(0)} m, ${e.agree} of ${e.results} results agree`;
      parts.push(page.el("p", { className: "here" }, here), page.el("p", {}, agree));
      const copy = page.el("button", { type: "button", onclick: () => copied(copy, here) }, "Copy");
      const link = { href: e.map ?? "", target: "_blank", rel: "noreferrer noopener" };
      parts.push(page.el("p", { className: "bar tight" }, copy, e.map ? page.el("a", link, "Open in OpenStreetMap") : null));
    } else {
      parts.push(page.el("p", {}, "The positions of these images are not known."));
    }
    const [mark, name] =
      answer.sure === null ? ["?", "unknown"] : answer.sure === "no" ? ["✗", "unsure"] : ["✓", "sure"];
    parts.push(page.el("p", { className: name }, `${mark} ${answer.verdict}`));
    return parts;
  }

  async function copied(button, text) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Cannot be copied here";
    }
  }

  function entry(result) {
    // a map in Qdrant holds no pictures
    const image = result.image ? page.el("img", { alt: "" }) : page.el("span", { className: "nothing" });
    if (result.image) page.show(image, result.image, pictures);
    const text = page.el(
      "span",
      {},
      page.el("strong", {}, `${result.rank}. place ${result.place}`),
      page.el("span", { className: "small" }, `score ${result.score.toFixed(3)}, distance ${result.distance.toFixed(4)}`),
      page.el("span", { className: "small name" }, result.database),
    );
    const at = result.rank - 1;
    const button = page.el("button", { type: "button" }, image, text);
    for (const event of ["focus", "pointerenter", "click"]) button.addEventListener(event, () => light(at));
    return button;
  }

  function light(at) {
    const buttons = [...page.$("results").querySelectorAll("button")];
    buttons.forEach((button, place) => button.classList.toggle("lit", place === at));
    page.drawn.light(at);
  }

  // Arrows walk through the results.
  function walk(event) {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    const buttons = [...page.$("results").querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    buttons[Math.min(Math.max(at + step, 0), buttons.length - 1)].focus();
  }

  function around() {
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        page.$("near").value = `${coords.latitude.toFixed(5)}, ${coords.longitude.toFixed(5)}`;
      },
      () => say("", "This device does not tell where it is: type latitude and longitude."),
    );
  }

  function theme() {
    const root = document.documentElement;
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    page.$("theme").textContent = isDark ? "Dark" : "Light";
  }

  for (const id of ["choose", "camera"]) {
    page.$(id).addEventListener("change", (event) => {
      locate(event.target.files);
      event.target.value = "";
    });
  }
  for (const event of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(event, (given) => {
      given.preventDefault();
      page.$("drop").classList.toggle("over", event === "dragover");
      if (event === "drop") locate(given.dataTransfer.files);
    });
  }
  document.addEventListener("paste", (event) => locate(event.clipboardData.files));
  document.addEventListener("keydown", walk);
  page.$("again").addEventListener("click", () => locate(asked.files));
  page.$("here").addEventListener("click", around);
  page.$("theme").addEventListener("click", theme);
  page.$("tiles").addEventListener("change", page.drawn.showTiles);
  page.$("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    page.token.set(page.$("token").value.trim());
    page.$("token").value = "";
    begin().then(() => asked.files.length && page.$("token-form").hidden && locate(asked.files));
  });
  page.$("theme").textContent = matchMedia("(prefers-color-scheme: dark)").matches ? "Light" : "Dark";
  begin().finally(() => {
    document.documentElement.dataset.ready = "yes";
  });
})();
