// The panel that asks a model. One function per input kind gives its fields and reads them; a kind
// this page does not know is edited as JSON. `read` gives {item}, or {file} for a raw body.

import { Problem, call } from "./api.js";
import { lines, show } from "./answers.js";
import { h, number } from "./dom.js";

const KINDS = { image, text, table, series, none };
const MAX_CLASSES = 10;
const PAD_PX = 224;

/** The panel for one verb of a model. */
export function panel(ref, name, verb) {
  const input = (KINDS[verb.input.kind] ?? anything)(verb.input, verb.example);
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "main" }, `Ask: ${name}`);
  const form = h("form", { onsubmit: ask, onkeydown: hurry }, input.node, h("p", {}, send), answer);

  function hurry(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  }

  async function ask(event) {
    event.preventDefault();
    send.disabled = true;
    form.setAttribute("aria-busy", "true");
    try {
      const given = await input.read();
      const started = performance.now();
      const response = await call(...request(ref, name, verb, given));
      const body = await response.json();
      const ms = performance.now() - started;
      answer.replaceChildren(
        ...body.outputs.map((output) => show(verb.answer, output, given.history)),
        footer(body, response.headers.get("Server-Timing"), ms),
      );
    } catch (error) {
      answer.replaceChildren(trouble(error));
    } finally {
      send.disabled = false;
      form.removeAttribute("aria-busy");
    }
  }
  return form;
}

function request(ref, name, verb, given) {
  const parameters = { ...given.parameters };
  const labels = verb.answer.labels;
  if (labels) parameters.top_k = Math.min(MAX_CLASSES, labels.length);
  const path = `v1/models/${ref}/${name}`;
  if (given.file) {
    const query = new URLSearchParams(parameters);
    return [`${path}?${query}`, { method: "POST", type: given.file.type, body: given.file }];
  }
  const body = JSON.stringify({ inputs: [given.item], parameters });
  return [path, { method: "POST", type: "application/json", body }];
}

function footer(body, timing, ms) {
  const parts = [...(timing ?? "").matchAll(/(queue|compute);dur=([\d.]+)/g)];
  const times = parts.map(([, what, time]) => `${what} ${number(time)} ms`);
  return h("footer", {},
    h("p", { class: "quiet" },
      [`${body.model}@${body.version}`, ...times, `round trip ${ms.toFixed(0)} ms`].join(" · ")),
    h("details", {}, h("summary", {}, "The answer as JSON"),
      h("pre", { class: "short", tabindex: "0" }, JSON.stringify(body, null, 1))),
  );
}

function trouble(error) {
  if (!(error instanceof Problem)) console.error(error);
  const title = error.status ? `${error.title} (${error.status})` : (error.title ?? "No answer");
  return h("p", { class: "notice bad", role: "alert" }, h("b", {}, title), ` ${error.message}`);
}

const field = (label, node) => h("label", {}, label, node);
const button = (label, onclick) => h("button", { type: "button", onclick }, label);

function image(spec, example) {
  const longest = Math.max(spec.width, spec.height);
  const size = { width: (PAD_PX * spec.width) / longest, height: (PAD_PX * spec.height) / longest };
  const pad = h("canvas", { ...size, role: "img", "aria-label": "The picture that is sent" });
  const note = h("p", { class: "quiet" });
  const context = pad.getContext("2d");
  const picker = h("input", { type: "file", accept: "image/*", class: "unseen", onchange: () => use(picker.files[0]) });
  let read = async () => ({ item: example });

  function clear() {
    context.fillStyle = spec.background;
    context.fillRect(0, 0, pad.width, pad.height);
  }
  function paint(picture) {
    const fit = Math.min(pad.width / picture.width, pad.height / picture.height);
    const [width, height] = [fit * picture.width, fit * picture.height];
    clear();
    context.imageSmoothingEnabled = fit < 1;
    context.drawImage(picture, (pad.width - width) / 2, (pad.height - height) / 2, width, height);
  }
  async function use(file) {
    if (!file) return;
    read = async () => ({ file });
    note.textContent = `${file.name}, sent as it is`;
    clear();
    paint(await createImageBitmap(file).catch(() => new OffscreenCanvas(1, 1)));
  }
  async function useExample() {
    read = async () => ({ item: example });
    note.textContent = `The built-in example. The model sees ${spec.width} × ${spec.height}.`;
    paint(await pictureOf(example));
  }
  function draw() {
    read = () => new Promise((done) => pad.toBlob((file) => done({ file })));
    note.textContent = "Draw in the square.";
    pad.classList.add("drawing");
    clear();
  }
  function stroke(event) {
    if (!event.buttons || !pad.classList.contains("drawing")) return;
    const ratio = pad.width / pad.clientWidth;
    const [x, y] = [event.offsetX * ratio, event.offsetY * ratio];
    if (event.type === "pointerdown") pad.setPointerCapture(event.pointerId);
    Object.assign(context, { lineWidth: PAD_PX / 12, lineCap: "round" });
    context.strokeStyle = spec.background === "black" ? "white" : "black";
    context.beginPath();
    context.moveTo(x - event.movementX * ratio, y - event.movementY * ratio);
    context.lineTo(x, y);
    context.stroke();
  }
  pad.addEventListener("pointerdown", stroke);
  pad.addEventListener("pointermove", stroke);
  const drop = (event) => {
    event.preventDefault();
    node.classList.toggle("over", event.type === "dragover");
    if (event.type === "drop") use(event.dataTransfer.files[0]);
  };
  const node = h("div", { class: "drop", ondragover: drop, ondragleave: drop, ondrop: drop }, pad,
    h("div", {},
      h("label", { class: "file" }, picker, "Choose a picture"), " or drop one here",
      h("p", {}, button("Example", useExample), spec.channels === 1 && button("Draw", draw)), note));
  useExample();
  return { node, read: () => read() };
}

/** An image item (base64, a data: URI or pixel rows) as something a canvas can draw. */
async function pictureOf(item) {
  if (!Array.isArray(item)) {
    const picture = new Image();
    picture.src = item.b64 ? `data:image/png;base64,${item.b64}` : item;
    await picture.decode().catch(() => {});
    return picture;
  }
  const pixels = item.flat().flatMap((one) => {
    const [red, green = red, blue = red] = [one].flat();
    return [red, green, blue, 255];
  });
  const data = new ImageData(new Uint8ClampedArray(pixels), item[0].length);
  return createImageBitmap(data);
}

function text(spec, example) {
  const area = h("textarea", { rows: 4, required: true }, example);
  return {
    node: field(`Text, up to ${spec.max_tokens} tokens`, area),
    read: () => ({ item: area.value }),
  };
}

function table(spec, example) {
  const cells = spec.columns.map((column, place) => {
    const value = Array.isArray(example) ? example[place] : example[column.name];
    const node = column.categories
      ? h("select", {}, column.categories.map((one) => h("option", { selected: one === value }, one)))
      : h("input", { type: "number", step: "any", required: true, value });
    const read = () => [column.name, column.categories ? node.value : Number(node.value)];
    return { node: field(column.name, node), read };
  });
  return {
    node: h("div", { class: "cells" }, cells.map((cell) => cell.node)),
    read: () => ({ item: Object.fromEntries(cells.map((cell) => cell.read())) }),
  };
}

function series(spec, example) {
  const charts = h("div", { class: "charts" });
  const note = h("p", { class: "quiet" });
  const picker = h("input", { type: "file", accept: ".csv,text/csv", class: "unseen", onchange: useFile });
  let given;

  function use(next, words) {
    given = next;
    note.textContent = words;
    const seen = Object.entries(next.history).slice(0, 4);
    charts.replaceChildren(...seen.map(([name, values]) => lines(name, values.slice(-spec.length))));
  }
  function useExample() {
    const column = (name, place) => (Array.isArray(example) ? example.map((row) => [row].flat()[place]) : example[name]);
    const history = Object.fromEntries(spec.columns.map((name, place) => [name, column(name, place)]));
    use({ item: example, history }, `The built-in example. The model sees the last ${spec.length} steps.`);
  }
  async function useFile() {
    const [file] = picker.files;
    if (!file) return;
    // Read here for the chart only: the server reads the file itself and says what is wrong in it.
    const [header = [], ...rows] = (await file.text()).trim().split(/\r?\n/).map((row) => row.split(","));
    const history = Object.fromEntries(header.map((name, place) => [name.trim(), rows.map((row) => Number(row[place]))]));
    use({ file: new Blob([file], { type: "text/csv" }), history }, `${file.name}, ${rows.length} steps`);
  }
  useExample();
  return {
    node: h("div", {}, charts, note,
      h("p", {}, h("label", { class: "file" }, picker, "Choose a CSV"), button("Example", useExample),
        h("span", { class: "quiet" }, ` with a header: ${spec.columns.join(", ")}`))),
    read: () => given,
  };
}

function none(spec, example) {
  const option = (value, label = value) => h("option", { value, selected: value === example.label }, label);
  const label = h("select", {}, option("", "any"), spec.labels.map((one) => option(one)));
  const whole = (value, most, placeholder) =>
    h("input", { type: "number", min: most.min, max: most.max, step: 1, value, placeholder });
  const seed = whole(example.seed, { min: 0, max: Number.MAX_SAFE_INTEGER }, "random");
  const n = whole(example.n ?? 8, { min: 1, max: 64 });
  n.required = true;
  const read = () => {
    const item = { n: Number(n.value) };
    if (label.value) item.label = label.value;
    if (seed.value) item.seed = Number(seed.value);
    return { item };
  };
  const fields = [spec.labels.length > 0 && field("Label", label), field("Seed", seed), field("How many", n)];
  return { node: h("div", { class: "cells" }, fields), read };
}

function anything(spec, example) {
  const area = h("textarea", { rows: 6, required: true, spellcheck: "false" }, JSON.stringify(example));
  const read = () => {
    try {
      return { item: JSON.parse(area.value) };
    } catch (error) {
      throw new Problem(0, "Not JSON", error.message);
    }
  };
  return { node: field(`An item (${spec.kind}) as JSON`, area), read };
}
