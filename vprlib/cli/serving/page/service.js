// The page: photographs come in, answers are shown.
"use strict";

(() => {
  const asked = { files: [], links: [], answers: null, map: null, chosen: 0 };
  let pictures = []; // links to small pictures, to be given back
  let number = 0; // of the request, so that a late answer to an earlier one is dropped

  const give = (links) => links.splice(0).forEach((link) => URL.revokeObjectURL(link));

  function put(id, text) {
    if (page.$(id).textContent !== text) page.$(id).textContent = text; // the same is not said twice
  }

  // `isShown`: the page shows the same, so that this is for those who listen.
  function state(text, isShown = false) {
    page.$("state").classList.toggle("heard", isShown);
    put("state", text);
  }

  function problem(text, canRetry = false) {
    put("problem", text);
    page.$("problem").hidden = !text;
    page.$("again").hidden = !canRetry;
  }

  async function begin() {
    try {
      page.maps.offer(await (await page.ask("/v1/maps")).json());
      page.$("token-form").hidden = true;
      problem("");
      return true;
    } catch (error) {
      refuse(error);
      return false;
    }
  }

  function refuse(error) {
    const needsToken = error.status === 401;
    problem(error.message, !needsToken);
    if (needsToken) {
      page.$("token-form").hidden = false;
      page.$("token").focus();
    }
  }

  async function again() {
    if ((page.maps.isKnown() || (await begin())) && asked.files.length) locate(asked.files);
  }

  async function locate(files) {
    const given = [...files]; // the browser may empty its own list
    const faults = await Promise.all(given.map(page.fault));
    const photographs = given.filter((_, at) => !faults[at]);
    const said = faults.filter((fault) => fault).join(" ");
    if (!photographs.length) return said && problem(said);
    give(asked.links);
    Object.assign(asked, { files: photographs, answers: null, chosen: 0 });
    asked.links = photographs.map((file) => URL.createObjectURL(file));
    page.$("answer").hidden = page.$("wait").hidden = true;
    strip();
    state(`Asking about ${page.plural(photographs.length, "photograph")} …`);
    problem(said);
    const own = ++number;
    await answered(own);
    if (own === number) page.$("wait").hidden = true;
    page.maps.learn();
  }

  // Asks, and asks again as long as the service says when.
  async function answered(own) {
    while (own === number) {
      try {
        const found = await page.locate(asked.files, page.maps.fields());
        if (own !== number) return;
        Object.assign(asked, { answers: found.answers, map: found.map });
        return show(0);
      } catch (error) {
        if (own !== number) return;
        state(error.seconds ? error.message : "");
        if (!error.seconds) return refuse(error);
        await pause(error.seconds, own);
      }
    }
  }

  async function pause(seconds, own) {
    page.$("wait").hidden = false;
    for (let left = seconds; left > 0 && own === number; left--) {
      page.$("left").textContent = `Asking again in ${left} s`;
      await new Promise((done) => setTimeout(done, 1000));
    }
    if (own === number) page.$("left").textContent = "Asking again …";
  }

  function stop() {
    number++;
    page.$("wait").hidden = true;
    problem(page.$("state").textContent, true);
    state("");
    page.$("again").focus();
  }

  function strip() {
    const isAlone = asked.files.length === 1;
    const items = asked.files.map((file, at) => {
      const image = page.el("img", { src: asked.links[at], alt: file.name });
      image.onerror = () => image.replaceWith(page.el("span", { className: "nothing" }, "no preview"));
      return page.el("li", {}, isAlone ? image : page.el("button", { type: "button", onclick: () => show(at) }, image));
    });
    page.$("strip").replaceChildren(...items);
    page.$("strip").classList.toggle("alone", isAlone);
    page.$("strip").hidden = false;
    press();
  }

  function press() {
    const buttons = page.$("strip").querySelectorAll("button");
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", at === asked.chosen));
  }

  function show(at) {
    if (!asked.answers) return;
    asked.chosen = at;
    const answer = asked.answers[at];
    press();
    page.$("strip").hidden = asked.files.length < 2;
    page.$("answer").hidden = false;
    page.$("photo").hidden = false;
    page.$("photo").src = asked.links[at];
    page.$("told").replaceChildren(...page.told.parts(answer));
    give(pictures);
    page.$("results").replaceChildren(...answer.results.map(entry));
    page.drawn.draw(answer, asked.map.geographic, light);
    state(page.told.sentence(answer), true);
  }

  function entry(result) {
    const { button, image } = page.told.entry(result, () => light(result.rank - 1));
    if (result.image) page.show(image, result.image, pictures).catch((error) => missing(image, error));
    else image.replaceWith(page.el("span", { className: "nothing" })); // a map in Qdrant has no pictures
    return page.el("li", {}, button);
  }

  function missing(image, error) {
    if (!image.isConnected) return; // of an answer that is shown no more
    image.replaceWith(page.el("span", { className: "nothing" }, error.message));
    if (error.status === 401) refuse(error);
    else problem(`Pictures of the results are missing. ${error.message}`, true);
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
      () => problem("This device does not tell where it is: type latitude and longitude."),
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
      if (event !== "drop") return;
      if (given.dataTransfer.files.length) locate(given.dataTransfer.files);
      else problem("Only files can be dropped here.");
    });
  }
  document.addEventListener("paste", (event) => locate(event.clipboardData.files));
  document.addEventListener("keydown", walk);
  page.$("again").addEventListener("click", again);
  page.$("stop").addEventListener("click", stop);
  page.$("photo").addEventListener("error", () => {
    page.$("photo").hidden = true; // of a kind that browsers do not show
  });
  page.$("here").addEventListener("click", around);
  page.$("theme").addEventListener("click", theme);
  page.$("tiles").addEventListener("change", page.drawn.showTiles);
  page.$("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    page.token.set(page.$("token").value.trim());
    page.$("token").value = "";
    begin().then((isKnown) => isKnown && asked.files.length && locate(asked.files));
  });
  page.$("theme").textContent = matchMedia("(prefers-color-scheme: dark)").matches ? "Light" : "Dark";
  begin().finally(() => {
    document.documentElement.dataset.ready = "yes";
  });
})();
