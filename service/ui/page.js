// The hub page: the list, one model, and which of them is shown. The address says which: #/name@2.
// The tests check that what is read from `entry` and `model` is there in the API's own answers.

import { Problem, blobUrl, call, key, relative } from "./api.js";
import { bytes, code, facts, h, number, plural, words } from "./dom.js";
import { panel } from "./try.js";

const LOADING_MS = 2000;
const WAITING_MS = 10000;
const FILTERS = ["family", "category", "state"];

const at = (id) => document.getElementById(id);
const filters = at("filters");
const view = { entries: [], listing: "", ref: "", model: "", timer: 0, pictures: [] };

// --- asking ------------------------------------------------------------------------------------

/** Bring the page up to date, then wait: shortly while models load, never while nobody looks. */
async function refresh() {
  clearTimeout(view.timer);
  let wait = 0;
  try {
    const [readiness, listing] = await Promise.all([fetch("readyz"), call("v1/models")]);
    const ready = await readiness.json();
    const text = await listing.text();
    if (text !== view.listing) {
      view.listing = text;
      view.entries = JSON.parse(text).data;
      offer();
      list();
    }
    tell(ready);
    say("");
    const loading = view.entries.some((entry) => entry.state === "loading");
    if (!ready.ready) wait = loading || ready.reason === "loading" ? LOADING_MS : WAITING_MS;
    await open();
  } catch (error) {
    if (error.status === 401) askKey(error.message);
    else {
      say(error.message);
      wait = WAITING_MS;
    }
  }
  if (wait && !document.hidden) view.timer = setTimeout(refresh, wait);
}

function tell(ready) {
  const status = at("status");
  status.className = ready.ready ? "ready" : "loading";
  const count = plural(view.entries.length, "model");
  status.textContent = `${count} · ${ready.ready ? "ready" : `not ready: ${ready.reason}`}`;
  at("forget").hidden = !key.get();
}

function say(trouble) {
  at("trouble").hidden = !trouble;
  at("trouble").textContent = trouble;
}

function askKey(detail) {
  at("status").textContent = "A key is needed";
  at("key-detail").textContent = key.get() ? detail : "";
  at("key").hidden = false;
  at("key-field").focus();
}

at("key").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(at("key-field").value);
  event.target.reset();
  event.target.hidden = true;
  view.listing = view.model = "";
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
  for (const name of FILTERS) {
    const select = filters.elements[name];
    const chosen = select.value;
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
    const fits = FILTERS.every((name) => !wanted[name] || entry[name] === wanted[name]);
    return fits && asked.every((word) => text.includes(word));
  });
  const focused = document.activeElement?.getAttribute("href");
  at("models").replaceChildren(...kept.map(card));
  at("models").querySelector(`a[href="${CSS.escape(focused ?? "")}"]`)?.focus();
  at("nothing").replaceChildren(...(kept.length ? [] : nothing()));
  mark();
}

function nothing() {
  if (view.entries.length) return [h("p", { class: "quiet" }, "No model fits these filters.")];
  return [
    h("h2", {}, "The hub is empty"),
    h("p", {}, "Train the starter set, one small model of each family, then start the hub again:"),
    code("modelhub starter"),
  ];
}

function card(entry) {
  const [metric, score] = Object.entries(entry.metrics)[0] ?? [];
  const beside = Object.entries(entry.baselines ?? {}).filter(([, scores]) => metric in scores);
  const kinds = [entry.family, entry.task, entry.verbs.join(", ")].filter(Boolean);
  const size = [entry.size_bytes && bytes(entry.size_bytes), provider(entry)].filter(Boolean);
  return h("li", {},
    h("a", { href: `#/${entry.id}` },
      h("span", { class: "top" }, h("b", {}, entry.id, h("small", {}, `@${entry.version}`)), state(entry)),
      h("span", { class: "quiet" }, kinds.join(" · ")),
      metric && h("span", { class: "score" }, h("b", {}, number(score)), ` ${words(metric)} `),
      beside.length > 0 && h("span", { class: "quiet" },
        beside.map(([name, scores]) => `${words(name)} ${number(scores[metric])}`).join(" · ")),
      entry.reason && h("span", { class: "reason" }, entry.reason),
      size.length > 0 && h("span", { class: "quiet" }, size.join(" · ")),
    ),
  );
}

const state = (entry) => h("span", { class: `state ${entry.state}` }, entry.state);
const provider = (entry) => entry.provider?.replace("ExecutionProvider", "");

function mark() {
  for (const link of at("models").querySelectorAll("a")) {
    const here = link.hash === `#/${view.ref.split("@")[0]}`;
    if (here) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

filters.addEventListener("input", list);
filters.addEventListener("submit", (event) => event.preventDefault());

// --- one model ---------------------------------------------------------------------------------

/** Show the model that the address names. Draws anew only where something changed. */
async function open() {
  const ref = decodeURIComponent(location.hash.replace(/^#\/?/, ""));
  const moved = ref !== view.ref;
  view.ref = ref;
  document.title = ref ? `${ref} · modelhub` : "modelhub";
  document.body.classList.toggle("chosen", Boolean(ref));
  at("detail").hidden = !ref;
  mark();
  if (!ref) return (view.model = "");
  let text;
  try {
    text = await (await call(`v1/models/${encodeURIComponent(ref)}`)).text();
  } catch (error) {
    if (!(error instanceof Problem) || error.status === 401) throw error;
    text = JSON.stringify({ trouble: `${error.title}: ${error.message}` });
  }
  if (ref !== view.ref || (text === view.model && !moved)) return;
  view.model = text;
  view.pictures.splice(0).forEach((url) => URL.revokeObjectURL(url));
  const model = JSON.parse(text);
  const back = h("p", { class: "back" }, h("a", { href: "#" }, "All models"));
  at("detail").replaceChildren(back, ...(model.trouble ? [trouble(ref, model.trouble)] : detail(ref, model)));
}

const trouble = (ref, words) => h("div", {}, h("h2", { tabindex: "-1" }, ref), h("p", { class: "notice bad" }, words));

addEventListener("hashchange", async () => {
  await open().catch((error) => (error.status === 401 ? askKey(error.message) : say(error.message)));
  scrollTo(0, 0);
  at("detail").querySelector("h2")?.focus();
});

const section = (title, ...nodes) => h("section", {}, h("h3", {}, title), nodes);
const more = (title, ...nodes) => h("details", {}, h("summary", {}, title), nodes);

function detail(ref, model) {
  const head = h("div", { class: "head" },
    h("h2", { tabindex: "-1" }, model.id, h("small", {}, `@${model.version}`)), state(model),
    h("p", {}, model.description),
    model.reason && h("p", { class: "notice bad" }, model.reason),
    h("p", { class: "quiet" }, [model.family, model.category, model.task, model.license, made(model.created),
      model.size_bytes && `${bytes(model.size_bytes)} on disk`,
      model.memory_bytes > 0 && `${bytes(model.memory_bytes)} in memory`, provider(model),
    ].filter(Boolean).join(" · ")),
  );
  if (!model.signature) return [head, versions(model)]; // its manifest cannot be read
  return [
    head,
    h("div", { class: "columns" },
      h("div", {}, attempt(ref, model), pictures(model)),
      h("div", {}, scores(model), versions(model), signature(model), origin(model), parity(model)),
    ),
  ];
}

const made = (seconds) => seconds > 0 && new Date(1000 * seconds).toISOString().slice(0, 10);

/** The panel and the command of one verb, and buttons for the others. */
function attempt(ref, model) {
  const place = h("div");
  const names = Object.keys(model.signature);
  const choices = names.map((name) => h("button", { type: "button", onclick: () => choose(name) }, name));
  function choose(name) {
    choices.forEach((one) => one.setAttribute("aria-pressed", String(one.textContent === name)));
    const verb = model.signature[name];
    place.replaceChildren(panel(ref, name, verb), h("h4", {}, "From a shell"), code(command(ref, name, verb)));
  }
  choose(names[0]);
  return section("Try it", names.length > 1 && h("p", { class: "verbs" }, choices), place);
}

function command(ref, name, verb) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  return [
    `curl ${new URL(`v1/models/${ref}/${name}`, document.baseURI)}`,
    "-H 'Content-Type: application/json'",
    ...(key.get() ? ['-H "Authorization: Bearer $MODELHUB_KEY"'] : []),
    `-d ${quoted(JSON.stringify({ inputs: [verb.example] }))}`,
  ].join(" \\\n  ");
}

function scores(model) {
  const metrics = Object.keys(model.metrics);
  const row = (name, values, kind) => h("tr", { class: kind }, h("th", { scope: "row" }, name),
    metrics.map((metric) => h("td", {}, metric in values ? number(values[metric]) : "–")));
  return section("Scores on held-out data",
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("td"), metrics.map((name) => h("th", { scope: "col" }, words(name))))),
      h("tbody", {}, row("this model", model.metrics, "own"),
        Object.entries(model.baselines).map(([name, values]) => row(words(name), values))))),
    h("p", { class: "quiet" }, model.evaluation),
  );
}

function versions(model) {
  const aliases = (version) => Object.keys(model.aliases).filter((name) => model.aliases[name] === version);
  const links = model.versions.toReversed().map((version) => h("li", {},
    h("a", { href: `#/${model.id}@${version}`, "aria-current": version === model.version && "true" }, `@${version}`),
    aliases(version).map((name) => h("a", { class: "alias", href: `#/${model.id}@${name}` }, name))));
  return section("Versions and aliases", h("ul", { class: "inline" }, links));
}

function signature(model) {
  const verbs = Object.entries(model.signature).map(([name, verb]) => [
    h("h4", {}, name, h("span", { class: "quiet" }, ` ${verb.input.kind} → ${verb.answer.kind}`)),
    facts([...fields(verb.input), ...fields(verb.answer)]),
  ]);
  const tensors = (graph, side) => graph[side].map((one) => `${one.name} ${one.dtype}[${one.shape.join(", ")}]`);
  const graphs = Object.entries(model.graphs).map(([name, graph]) =>
    [name, `${tensors(graph, "inputs").join(", ")} → ${tensors(graph, "outputs").join(", ")}`]);
  return section("Signature", verbs, more("Graphs and their tensors", facts(graphs)));
}

/** A kind's fields as they are, so that a kind of tomorrow shows too. */
function fields(spec) {
  const name = (one) => one.name ? `${one.name}${one.categories ? ` (${one.categories.join(" | ")})` : ""}` : String(one);
  const value = (given) => !Array.isArray(given) ? String(given)
    : `${given.slice(0, 40).map(name).join(", ")}${given.length > 40 ? `, … ${given.length} in all` : ""}`;
  const shown = Object.entries(spec).filter(([field, given]) => field !== "kind" && given != null && String(given));
  return shown.map(([field, given]) => [words(field), typeof given === "number" ? number(given) : value(given)]);
}

function origin(model) {
  const from = model.provenance;
  const pairs = (values) => facts(Object.entries(values).map(([name, value]) => [words(name), String(value)]));
  return section("Origin",
    facts([
      ["data", from.data], ["data licence", from.data_license], ["weights", from.weights],
      ["weights licence", from.weights_license], ["training", `${number(from.train_seconds)} s`],
    ]),
    h("h4", {}, "Make it again"),
    code(`modelhub train ${from.recipe} --profile ${from.profile} --seed ${from.seed}`),
    more("Settings", pairs(from.config)), more("Packages", pairs(from.packages)),
    model.card && more("Model card", h("pre", { class: "wrap" }, model.card)),
  );
}

function parity(model) {
  const rows = Object.entries(model.parity).map(([graph, one]) =>
    [graph, `at most ${one.max_difference.toExponential(1)} (allowed ${one.tolerance}), ${one.rows.join(", ")} rows`]);
  return rows.length > 0 && section("Parity: ONNX Runtime against the trainer", facts(rows));
}

function pictures(model) {
  const paths = model.files.filter((path) => path.endsWith(".png"));
  const figures = paths.map((path) => {
    const name = words(path.split("/").at(-1).slice(0, -4));
    const figure = h("figure", {}, h("figcaption", {}, name));
    blobUrl(relative(path)).then((url) => {
      view.pictures.push(url);
      const picture = h("img", { src: url, alt: name, onerror: () => figure.remove() });
      figure.prepend(h("a", { href: url, target: "_blank", title: "in full size" }, picture));
    }, () => figure.remove());
    return figure;
  });
  return figures.length > 0 && section("Pictures", h("div", { class: "pictures" }, figures));
}

refresh();
