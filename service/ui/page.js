// The hub page: the list, one model, and which of them is shown. The address says which: #/name@2.
// A test checks that what is read from `entry` and `model` is there in the API's own answers.

import { Problem, blobUrl, call, key, relative } from "./api.js";
import { bytes, code, facts, h, number, words } from "./dom.js";
import { panel } from "./try.js";

const LOADING_MS = 2000;
const WAITING_MS = 10000;
const FILTERS = ["family", "category", "state"];

const at = (id) => document.getElementById(id);
const filters = at("filters");
const view = { entries: [], listing: "", ref: "", model: "", timer: 0, pictures: [] };

// --- asking ------------------------------------------------------------------------------------

/** Bring the page up to date, and again soon while models load; never while nobody looks. */
async function refresh() {
  clearTimeout(view.timer);
  let wait_ms = WAITING_MS;
  try {
    const [readiness, listing] = await Promise.all([fetch("readyz"), call("v1/models")]);
    const [ready, text] = [await readiness.json(), await listing.text()];
    if (text !== view.listing) {
      view.listing = text;
      view.entries = JSON.parse(text).data;
      offer();
      list();
    }
    at("status").className = ready.ready ? "ready" : "loading";
    const count = `${view.entries.length} ${view.entries.length === 1 ? "model" : "models"}`;
    at("status").textContent = `${count} · ${ready.ready ? "ready" : `not ready: ${ready.reason}`}`;
    at("forget").hidden = !key.get();
    at("trouble").hidden = true;
    if (view.entries.some((entry) => entry.state === "loading")) wait_ms = LOADING_MS;
    else if (ready.ready) wait_ms = 0;
    await open();
  } catch (error) {
    if (complain(error)) wait_ms = 0;
  }
  if (wait_ms && !document.hidden) view.timer = setTimeout(refresh, wait_ms);
}

/** Say what went wrong; true where only a key helps. */
function complain(error) {
  const locked = error.status === 401;
  at("trouble").hidden = locked;
  at("trouble").textContent = error.message;
  if (locked) {
    at("status").textContent = "A key is needed";
    at("key-detail").textContent = key.get() ? error.message : "";
    at("key").hidden = false;
    at("key-field").focus();
  }
  return locked;
}

at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(at("key-field").value);
  at("key").reset();
  at("key").hidden = true;
  refresh();
});

at("forget").addEventListener("click", () => {
  key.forget();
  location.reload();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(view.timer);
  else if (at("key").hidden) refresh();
});

// --- the list ----------------------------------------------------------------------------------

/** Fill the filters with what there is to choose from. */
function offer() {
  filters.hidden = !view.entries.length;
  for (const name of FILTERS) {
    const select = filters.elements[name], chosen = select.value;
    const there = [...new Set(view.entries.map((entry) => entry[name]).filter(Boolean))].sort();
    const options = there.map((value) => h("option", { value, selected: value === chosen }, value));
    select.replaceChildren(h("option", { value: "" }, "all"), ...options);
  }
}

function list() {
  const wanted = Object.fromEntries(new FormData(filters));
  const asked = wanted.q.toLowerCase().split(/\s+/);
  const kept = view.entries.filter((entry) => {
    const text = `${entry.id} ${entry.task} ${entry.description}`.toLowerCase();
    return FILTERS.every((name) => !wanted[name] || entry[name] === wanted[name])
      && asked.every((word) => text.includes(word));
  });
  const focused = document.activeElement?.getAttribute("href") ?? "";
  at("models").replaceChildren(...kept.map(card));
  at("models").querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  at("empty").hidden = view.entries.length > 0;
  at("nothing").hidden = kept.length > 0 || !view.entries.length;
  mark();
}

function card(entry) {
  const [metric, score] = Object.entries(entry.metrics)[0] ?? [];
  const beside = Object.entries(entry.baselines ?? {}).filter(([, scores]) => metric in scores);
  const quiet = (...parts) => h("span", { class: "quiet" }, parts.filter(Boolean).join(" · "));
  return h("li", {},
    h("a", { href: `#/${entry.id}` },
      h("span", { class: "top" }, h("b", {}, entry.id, h("small", {}, `@${entry.version}`)), state(entry)),
      quiet(entry.family, entry.task, entry.verbs.join(", ")),
      metric && h("span", { class: "score" }, h("b", {}, number(score)), ` ${words(metric)}`),
      quiet(...beside.map(([name, scores]) => `${words(name)} ${number(scores[metric])}`)),
      entry.reason && h("span", { class: "reason" }, entry.reason),
      quiet(entry.size_bytes && bytes(entry.size_bytes), provider(entry)),
    ),
  );
}

const state = (entry) => h("span", { class: `state ${entry.state}` }, entry.state);
const provider = (entry) => entry.provider?.replace("ExecutionProvider", "");

function mark() {
  for (const link of at("models").querySelectorAll("a")) {
    link.setAttribute("aria-current", String(link.hash === `#/${view.ref.split("@")[0]}`));
  }
}

filters.addEventListener("input", list);
filters.addEventListener("submit", (event) => event.preventDefault());

// --- one model ---------------------------------------------------------------------------------

/** Show the model that the address names. Draws anew only where something changed. */
async function open() {
  const [, ref = ""] = location.hash.match(/^#\/([\w.@-]+)$/) ?? [];
  if (ref !== view.ref) view.model = "";
  view.ref = ref;
  document.title = ref ? `${ref} · modelhub` : "modelhub";
  document.body.classList.toggle("chosen", Boolean(ref));
  at("detail").hidden = !ref;
  mark();
  if (!ref) return;
  let text;
  try {
    text = await (await call(`v1/models/${ref}`)).text();
  } catch (error) {
    if (!(error instanceof Problem) || error.status === 401) throw error;
    text = JSON.stringify({ problem: `${error.title}: ${error.message}` });
  }
  if (ref !== view.ref || text === view.model) return;
  view.model = text;
  view.pictures.splice(0).forEach(URL.revokeObjectURL);
  const { problem, ...model } = JSON.parse(text);
  at("detail").replaceChildren(
    h("p", { class: "back" }, h("a", { href: "#" }, "All models")),
    ...(problem ? [h("h2", { tabindex: "-1" }, ref), failure(problem)] : detail(ref, model)),
  );
}

const failure = (text) => h("p", { class: "notice bad" }, text);
const section = (title, ...nodes) => h("section", {}, h("h3", {}, title), nodes);
const more = (title, ...nodes) => h("details", {}, h("summary", {}, title), nodes);

addEventListener("hashchange", async () => {
  await open().catch(complain);
  scrollTo(0, 0);
  at("detail").querySelector("h2")?.focus();
});

function detail(ref, model) {
  const about = [
    model.family, model.category, model.task, model.license,
    model.created > 0 && new Date(1000 * model.created).toISOString().slice(0, 10),
    model.size_bytes && `${bytes(model.size_bytes)} on disk`,
    model.memory_bytes > 0 && `${bytes(model.memory_bytes)} in memory`, provider(model),
  ];
  const head = h("div", { class: "head" },
    h("h2", { tabindex: "-1" }, model.id, h("small", {}, `@${model.version}`)), state(model),
    h("p", {}, model.description),
    h("p", { class: "quiet" }, about.filter(Boolean).join(" · ")),
    model.reason && failure(model.reason),
  );
  if (!model.signature) return [head, versions(model)]; // its manifest cannot be read
  return [
    head,
    scores(model),
    h("div", { class: "columns" },
      model.state !== "failed" && attempt(ref, model),
      h("div", {}, versions(model), signature(model), origin(model))),
    pictures(model),
  ];
}

/** The panel and the command of one verb, and buttons for the others. */
function attempt(ref, model) {
  const place = h("div");
  const names = [...Object.keys(model.signature), ...(model.explains ? ["explain"] : [])];
  const choices = names.map((name) => h("button", { type: "button", onclick: () => choose(name) }, name));
  function choose(name) {
    choices.forEach((one) => one.setAttribute("aria-pressed", String(one.textContent === name)));
    const verb = model.signature[name]
      ?? { ...model.signature[model.explains], answer: { kind: "explanation" } };
    const shell = [h("h4", {}, "From a shell"), code(command(ref, name, verb))];
    place.replaceChildren(panel(ref, name, verb), ...shell);
  }
  choose(names[0]);
  return section("Try it", names.length > 1 && h("p", { class: "verbs" }, choices), place);
}

function command(ref, name, verb) {
  if (verb.example === null) { // too large to show: the command line makes one
    const url = new URL(`v1/models/${ref}/${name}`, document.baseURI);
    return `modelhub example ${ref} | curl ${url} -H 'Content-Type: application/json' -d @-`;
  }
  const body = JSON.stringify({ inputs: [verb.example] }).replaceAll("'", "'\\''");
  return [
    `curl ${new URL(`v1/models/${ref}/${name}`, document.baseURI)}`,
    "-H 'Content-Type: application/json'",
    ...(key.get() ? ['-H "Authorization: Bearer $MODELHUB_KEY"'] : []),
    `-d '${body}'`,
  ].join(" \\\n  ");
}

function scores(model) {
  const metrics = Object.keys(model.metrics);
  if (metrics.length === 0) return section("Scores", h("p", { class: "quiet" }, model.evaluation));
  const row = ([name, values]) => h("tr", {}, h("th", { scope: "row" }, words(name)),
    metrics.map((metric) => h("td", {}, metric in values ? number(values[metric]) : "–")));
  const rows = [["this model", model.metrics], ...Object.entries(model.baselines)].map(row);
  const heads = metrics.map((metric) => h("th", { scope: "col" }, words(metric)));
  const table = h("table", {}, h("thead", {}, h("tr", {}, h("td"), heads)), h("tbody", {}, rows));
  const scroller = h("div", { tabindex: "0", role: "region", "aria-label": "Scores" }, table);
  const sentence = h("p", { class: "quiet" }, model.evaluation);
  return section("Scores on held-out data", h("div", { class: "scores" }, scroller, sentence));
}

function versions(model) {
  const link = (selector, properties) => h("a", { href: `#/${model.id}@${selector}`, ...properties }, selector);
  const rows = model.versions.toReversed().map((version) => {
    const names = Object.keys(model.aliases).filter((name) => model.aliases[name] === version);
    const shown = link(version, { "aria-current": String(version === model.version) });
    return h("li", {}, shown, names.map((name) => link(name, { class: "alias" })));
  });
  return section("Versions and aliases", h("ul", { class: "inline" }, rows));
}

function signature(model) {
  const graphs = Object.entries(model.graphs);
  const tensors = graphs.flatMap(([, graph]) => [...graph.inputs, ...graph.outputs]);
  const inner = new Set(tensors.map((tensor) => tensor.name));
  const verbs = Object.entries(model.signature).map(([name, verb]) => [
    h("h4", {}, name),
    facts([["takes", verb.input.kind], ...fields(verb.input, inner),
      ["gives", verb.answer.kind], ...fields(verb.answer, inner)]),
  ]);
  const line = (side) => side.map((one) => `${one.name} ${one.dtype}[${one.shape.join(", ")}]`).join(", ");
  const rows = graphs.map(([name, graph]) => [name, `${line(graph.inputs)} → ${line(graph.outputs)}`]);
  const parity = Object.entries(model.parity).map(([graph, one]) =>
    [graph, `differs by ${one.max_difference && one.max_difference.toExponential(1)} at most over `
      + `${one.rows.join(", ")} rows (allowed: ${one.tolerance})`]);
  return section("Signature", verbs,
    parity.length > 0 && [h("h4", {}, "Parity of ONNX Runtime with the trainer"), facts(parity)],
    model.inferred.length > 0 && [h("h4", {}, "Inferred from the graph"),
      h("ul", { class: "plain" }, model.inferred.map((one) => h("li", {}, one)))],
    model.batching && facts([["batching", batching(model.batching)]]),
    more("Graphs and their tensors", facts(rows)));
}

const batching = (one) => one.reason ? `rows do not share a run: ${one.reason}` : `up to ${one.max_rows} rows share a run`;

/** A kind's fields as they are, so that a kind of tomorrow shows too; tensor names stay inside. */
function fields(spec, inner) {
  const name = (one) => one.name ? [one.name, one.categories?.join("|")].filter(Boolean).join(": ") : one;
  const text = (value) => Array.isArray(value) ? value.map(name).join(", ") : String(value);
  return Object.entries(spec)
    .filter(([field, value]) => field !== "kind" && value !== null && !inner.has(value))
    .map(([field, value]) => [words(field), typeof value === "number" ? number(value) : text(value)]);
}

function origin(model) {
  const from = model.provenance;
  const card = model.card && more("Model card", h("pre", { class: "wrap" }, model.card));
  if (!from) return section("Origin", h("p", { class: "quiet" }, model.source || "unknown"), card);
  const pairs = (values) => facts(Object.entries(values).map(([name, value]) => [words(name), String(value)]));
  return section("Origin",
    facts([["data", from.data], ["data licence", from.data_license], ["weights", from.weights],
      ["weights licence", from.weights_license], ["training", `${number(from.train_seconds)} s`],
      ["memory of training", from.peak_memory_bytes > 0 && `${bytes(from.peak_memory_bytes)} at most`]]),
    h("h4", {}, "Make it again"),
    code(`modelhub train ${from.recipe} --profile ${from.profile} --seed ${from.seed}`
      + (from.start ? ` --from ${from.start}` : "")),
    more("Settings", pairs(from.config)), more("Packages", pairs(from.packages)),
    card);
}

function pictures(model) {
  const figures = model.files.filter((path) => path.endsWith(".png")).map((path) => {
    const name = words(path.split("/").at(-1).slice(0, -4));
    const figure = h("figure", {}, h("figcaption", {}, name));
    blobUrl(relative(path)).then((url) => {
      view.pictures.push(url);
      const picture = h("img", { src: url, alt: name, onerror: () => figure.remove() });
      figure.prepend(h("a", { href: url, target: "_blank", title: "In full size" }, picture));
    }, () => figure.remove());
    return figure;
  });
  return section("Pictures", h("div", { class: "pictures" }, figures));
}

refresh();
