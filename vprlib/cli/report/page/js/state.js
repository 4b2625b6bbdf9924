// What is shown: the view, the set and the runs; it stands in the address, so that links keep it.
"use strict";

page.state = { view: "table", set: null, run: null, against: null };

// Reads the address; names that do not exist fall back to the first ones.
page.readAddress = () => {
  const [view, query = ""] = location.hash.slice(1).split("?");
  const given = new URLSearchParams(query);
  if (view in page.views) page.state.view = view;
  for (const name of ["set", "run", "against"]) {
    if (given.has(name)) page.state[name] = given.get(name);
  }
  mend();
};

function mend() {
  const state = page.state;
  const sets = page.summary.sets.map((set) => set.name);
  if (!sets.includes(state.set)) state.set = sets[0];
  const runs = page.runsOf(state.set).map(page.runName);
  const base = page.summary.baseline.join("/");
  const best = page.summary.best.join("/");
  if (!runs.includes(state.run)) state.run = runs.includes(best) ? best : runs[runs.length - 1];
  if (!runs.includes(state.against)) state.against = runs.includes(base) ? base : runs[0];
}

// Another view is a step in the browser's history; another set or run is not.
page.writeAddress = (isStep) => {
  const { view, set, run, against } = page.state;
  const address = `#${view}?${new URLSearchParams({ set, run, against })}`;
  if (isStep) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
};

page.change = (changed) => {
  Object.assign(page.state, changed);
  mend();
  page.writeAddress("view" in changed);
  page.refresh();
};

page.fillSelects = () => {
  const runs = page.runsOf(page.state.set).map(page.runName);
  const entries = {
    set: page.summary.sets.map((set) => [set.name, set.name]),
    run: runs.map((name) => [name, name]),
    against: runs.map((name) => [name, name]),
  };
  for (const select of document.querySelectorAll("select[data-state]")) {
    const name = select.dataset.state;
    page.options(select, entries[name], page.state[name]);
  }
};

page.listenToSelects = () => {
  for (const select of document.querySelectorAll("select[data-state]")) {
    select.addEventListener("change", () => page.change({ [select.dataset.state]: select.value }));
  }
};
