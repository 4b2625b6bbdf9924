// The data of sets and runs, unpacked when a view first needs them.
"use strict";

page.runName = (run) => run.name;

// Where the parameters of two runs differ: place, value of the first, value of the second.
page.changedParams = (a, b) => {
  const of = ({ revision }) =>
    new Map(
      (page.summary.revisions.find((one) => one.name === revision)?.params ?? []).map(
        ([place, here, there]) => [place, { here, there }],
      ),
    );
  const [ours, theirs] = [of(a), of(b)];
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .map((place) => [
      place,
      ours.get(place)?.there ?? theirs.get(place).here,
      theirs.get(place)?.there ?? ours.get(place).here,
    ])
    .filter(([, one, other]) => one !== other);
};

page.setNumber = (name) => page.summary.sets.findIndex((set) => set.name === name);

page.runsOf = (name) => {
  const number = page.setNumber(name);
  return page.summary.runs.filter((run) => run.set === number);
};

page.runOf = (set, name) => page.runsOf(set).find((run) => page.runName(run) === name);

page.once = (make) => {
  const known = new Map();
  return (key) => {
    if (!known.has(key)) known.set(key, make(key));
    return known.get(key);
  };
};

const pictures = (side) => {
  const rows = page.unpack(side.rows);
  return new Map(side.names.map((name, at) => [rows[at], `thumbnails/${name}.webp`]));
};

page.loadSet = page.once(async (name) => {
  const number = page.setNumber(name);
  const raw = await page.load(page.summary.sets[number].data);
  const both = (sides) =>
    sides && { queries: page.unpack(sides.queries), database: page.unpack(sides.database) };
  const shown = page.registered.get("pictures")[number];
  return {
    name,
    names: { queries: raw.queries, database: raw.database },
    count: raw.queries.length,
    metres: both(raw.metres),
    degrees: both(raw.degrees),
    facts: raw.facts.map((fact) => ({ ...fact, of: page.unpack(fact.of) })),
    heading: page.unpack(raw.heading),
    nearest: page.unpack(raw.nearest),
    pictures: { queries: pictures(shown.queries), database: pictures(shown.database) },
  };
});

const loadAnswers = page.once(async (data) => {
  const raw = await page.load(data);
  const found = { columns: raw.columns };
  for (const [name, value] of Object.entries(raw)) {
    if (name !== "columns") found[name] = page.unpack(value);
  }
  return found;
});

// A set and what one of its runs found.
page.loadRun = async (setName, name) => {
  const run = page.runOf(setName, name);
  const [set, answers] = await Promise.all([page.loadSet(setName), loadAnswers(run.data)]);
  return { set, run, answers, order: surestFirst(set.count, answers) };
};

// Queries by falling score, or by rising distance where no score is calibrated.
function surestFirst(count, answers) {
  const order = Uint32Array.from({ length: count }, (_, query) => query);
  const { scores, distances, columns } = answers;
  const value = scores ? (q) => -scores[q] : (q) => distances[q * columns];
  return order.sort((a, b) => value(a) - value(b) || a - b);
}

// Metres from a query to a database image.
page.apart = (set, query, row) => {
  if (!set.metres) return NaN;
  const { queries, database } = set.metres;
  return Math.hypot(
    queries[2 * query] - database[2 * row],
    queries[2 * query + 1] - database[2 * row + 1],
  );
};

page.category = (answers, query) => page.summary.categories[answers.category[query]];

// The difference from run a to run b at N, in the direction that is asked.
page.difference = (a, b, n) => {
  const [from, to] = [page.summary.runs.indexOf(a), page.summary.runs.indexOf(b)];
  for (const pair of page.summary.differences) {
    const found = pair.at[n];
    if (!found) continue;
    if (pair.from === from && pair.to === to) return found;
    if (pair.from === to && pair.to === from) {
      const { value, low, high, gained, lost } = found;
      return { ...found, value: -value, low: -high, high: -low, gained: lost, lost: gained };
    }
  }
  return null;
};
