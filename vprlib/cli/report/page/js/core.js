// What every other script uses: data that scripts register, elements, and numbers as text.
"use strict";

const page = { views: {}, registered: new Map(), waiting: new Map() };

// Called by each file in data/.
page.register = (name, content) => {
  page.registered.set(name, content);
};

// The content of data/NAME.js, which is loaded once; a browser reads no other file from a disk.
page.load = (name) => {
  if (!page.waiting.has(name)) {
    page.waiting.set(
      name,
      new Promise((resolve, reject) => {
        if (page.registered.has(name)) return resolve(page.registered.get(name));
        const script = document.createElement("script");
        script.src = `data/${name}.js`;
        script.onload = () => resolve(page.registered.get(name));
        script.onerror = () => reject(new Error(`data/${name}.js cannot be read`));
        document.head.append(script);
      }),
    );
  }
  return page.waiting.get(name);
};

const KINDS = {
  u1: Uint8Array,
  u4: Uint32Array,
  i4: Int32Array,
  f4: Float32Array,
  f8: Float64Array,
};

// An array that Python has packed.
page.unpack = (packed) => {
  if (packed === null) return null;
  const text = atob(packed.base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return new KINDS[packed.kind](bytes.buffer);
};

page.$ = (id) => document.getElementById(id);

// An element with properties and children; text is never read as HTML.
page.el = (tag, properties = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
};

page.options = (select, entries, chosen) => {
  select.replaceChildren(...entries.map(([value, text]) => page.el("option", { value }, text)));
  select.value = chosen;
};

page.percent = (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(1));

page.plural = (count, name, many = `${name}s`) => `${count} ${count === 1 ? name : many}`;

page.points = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}`;

page.metres = (metres) => {
  if (!Number.isFinite(metres)) return "position unknown";
  return metres < 1000 ? `${metres.toFixed(1)} m` : `${(metres / 1000).toFixed(1)} km`;
};

page.date = (text) => text.slice(0, 16).replace("T", " ");

// Seconds as a person would say them.
page.seconds = (seconds) => {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  const minutes = seconds / 60;
  return minutes < 100 ? `${minutes.toFixed(1)} min` : `${(minutes / 60).toFixed(1)} h`;
};

// Seconds since 1970 as the date and time of this place.
page.clock = (seconds) => {
  const local = new Date(1000 * (seconds - 60 * new Date(1000 * seconds).getTimezoneOffset()));
  return page.date(local.toISOString());
};

page.words = (name) => name.replaceAll("_", " ");

page.factTitle = (name) =>
  ({
    heading_difference_deg: "Heading difference (°)",
    nearest_database_m: "Nearest database image (m)",
    light: "Light",
    time_of_day: "Time of day",
  })[name] ?? page.words(name);

// The end of a name, since names differ there.
page.ending = (name, length) => (name.length <= length ? name : `…${name.slice(1 - length)}`);

page.pvalue = (p) => (p < 0.001 ? "p < 0.001" : `p = ${p.toFixed(3)}`);

// Calls the function at most once a frame.
page.eachFrame = (work) => {
  let is_waiting = false;
  return () => {
    if (is_waiting) return;
    is_waiting = true;
    requestAnimationFrame(() => {
      is_waiting = false;
      work();
    });
  };
};

// The same for a function of a value: the last one counts.
page.eachFrameWith = (work) => {
  let value;
  const run = page.eachFrame(() => work(value));
  return (next) => {
    value = next;
    run();
  };
};
