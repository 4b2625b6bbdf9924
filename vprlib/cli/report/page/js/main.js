// Starts the page, and shows the view that the address names.
"use strict";

function fail(problem) {
  page.$("problem").hidden = false;
  page.$("problem").textContent = `This page cannot show everything: ${problem}.`;
}

page.refresh = () => {
  page.fillSelects();
  const { view } = page.state;
  for (const section of document.querySelectorAll("main > section")) {
    section.hidden = section.dataset.view !== view;
  }
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${page.$(`${view}-title`).textContent} – vprlib report`;
  delete document.documentElement.dataset.ready;
  Promise.resolve(page.views[view].show())
    .then(() =>
      requestAnimationFrame(() => {
        document.documentElement.dataset.ready = view;
      }),
    )
    .catch((error) => fail(error.message));
};

const isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

function showTheme() {
  page.$("theme").textContent = isDark() ? "Light" : "Dark";
  page.$("theme").setAttribute("aria-label", `Use ${isDark() ? "light" : "dark"} colours`);
  page.redrawCharts();
  page.views.map.recolour();
}

function start() {
  page.summary = page.registered.get("summary");
  if (!page.summary) return fail("data/summary.js is missing");
  page.listenToSelects();
  page.viewer.listen();
  for (const view of Object.values(page.views)) view.start();
  page.$("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showTheme);
  for (const link of document.querySelectorAll("nav a")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      page.change({ view: link.dataset.view });
      scrollTo(0, 0);
    });
  }
  addEventListener("hashchange", () => {
    page.readAddress();
    page.refresh();
  });
  addEventListener("resize", page.eachFrame(page.redrawCharts));
  page.$("footer").textContent = `Made by vpr report, ${page.date(page.summary.made)}`;
  page.readAddress();
  page.refresh();
  showTheme();
}

start();
