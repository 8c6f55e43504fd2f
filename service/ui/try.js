// The panel that asks a model. One function per input kind makes its fields and reads them; a kind
// that is not here is edited as JSON. `read` gives {item}, or {file} for a raw body; and what the
// answer may be drawn on: a `history` of columns, or `picture()`, which gives it or null.

import { lines, show } from "./answers.js";
import { Problem, call, events } from "./api.js";
import { h, number } from "./dom.js";

const KINDS = { image, audio, text, table, series, none };
const MAX_CLASSES = 10;
const PAD_PX = 224;

/** The panel for one verb of a model. */
export function panel(ref, name, verb) {
  const input = (KINDS[verb.input.kind] ?? anything)(verb.input, verb.example);
  const wish = verb.answer.kind === "text" && manner(verb.answer);
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "main" }, name);
  const form = h("form", { onsubmit: ask, onkeydown: hurry },
    input.node, wish && wish.node, h("p", {}, send), answer);

  function hurry(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  }
  async function ask(event) {
    event.preventDefault();
    send.disabled = true;
    try {
      const given = await input.read();
      const started = performance.now();
      if (wish) {
        await listen(answer, `v1/models/${ref}/${name}`, given.item, wish.read(), started);
        return;
      }
      const response = await call(...request(`v1/models/${ref}/${name}`, verb, given));
      const body = await response.json();
      const took = `round trip ${(performance.now() - started).toFixed(0)} ms`;
      const picture = await given.picture?.();
      const shown = body.outputs.map((output) => show(verb.answer, output, given.history, picture));
      answer.replaceChildren(...shown, footer(body, response.headers.get("Server-Timing"), took));
    } catch (error) {
      const title = error.status ? `${error.title} (${error.status}) ` : "";
      answer.replaceChildren(h("p", { class: "notice bad" }, h("b", {}, title), error.message));
    } finally {
      send.disabled = false;
    }
  }
  return form;
}

/** Show a text as it is said. */
async function listen(answer, path, item, parameters, started) {
  const body = JSON.stringify({ inputs: [item], parameters, stream: true });
  const response = await call(path, { method: "POST", type: "application/json", body });
  const text = h("p", { class: "said" }), note = h("p", { class: "quiet" });
  answer.replaceChildren(text, note);
  let first;
  for await (const said of events(response)) {
    first ??= performance.now() - started;
    text.append(said.text ?? "");
    if (!said.finish_reason) continue;
    const tokens = said.usage.completion_tokens, took = performance.now() - started;
    note.textContent = [`${tokens} tokens`, `first after ${first.toFixed(0)} ms`,
      `all after ${took.toFixed(0)} ms`, `ended by ${said.finish_reason}`].join(" · ");
  }
}

/** How a text is to be said. */
function manner(spec) {
  const most = h("input", { type: "number", min: 1, step: 1, value: spec.max_tokens, required: true });
  const heat = h("input", { type: "number", min: 0, step: "any", placeholder: spec.temperature });
  const seed = h("input", { type: "number", min: 0, step: 1, placeholder: "random" });
  const read = () => ({
    max_tokens: Number(most.value),
    ...(heat.value && { temperature: Number(heat.value) }),
    ...(seed.value && { seed: Number(seed.value) }),
  });
  const fields = [field("Tokens at most", most), field("Temperature", heat), field("Seed", seed)];
  return { node: h("div", { class: "cells" }, fields), read };
}

function request(path, verb, given) {
  const { kind, labels } = verb.answer;
  const parameters = kind === "classes" ? { top_k: Math.min(MAX_CLASSES, labels.length) } : {};
  const { file } = given;
  if (file) {
    return [`${path}?${new URLSearchParams(parameters)}`, { method: "POST", type: file.type, body: file }];
  }
  const body = JSON.stringify({ inputs: [given.item], parameters });
  return [path, { method: "POST", type: "application/json", body }];
}

function footer(body, timing, took) {
  const parts = [...(timing ?? "").matchAll(/(queue|compute);dur=([\d.]+)/g)];
  const times = parts.map(([, what, ms]) => `${what} ${number(ms)} ms`);
  return h("footer", {},
    h("p", { class: "quiet" }, [`${body.model}@${body.version}`, ...times, took].join(" · ")),
    h("details", {}, h("summary", {}, "The answer as JSON"),
      h("pre", { class: "short wrap", tabindex: "0" }, JSON.stringify(body, null, 1))));
}

const field = (label, node) => h("label", {}, label, node);
const button = (label, onclick) => h("button", { type: "button", onclick }, label);

/** A button that opens the file dialog. */
function picker(label, accept, use) {
  const input = h("input", { type: "file", accept, class: "unseen", onchange: () => use(input.files[0]) });
  return h("label", { class: "file" }, input, label);
}

function image(spec, example) {
  const [width, height] = [spec.width ?? PAD_PX, spec.height ?? PAD_PX];
  const scale = PAD_PX / Math.max(width, height);
  const pad = h("canvas", { width: scale * width, height: scale * height, role: "img",
    "aria-label": "The picture that is sent", onpointerdown: stroke, onpointermove: stroke });
  const ink = pad.getContext("2d");
  const note = h("p", { class: "quiet" });
  let read, last;

  function start(words, reader, drawing = false) {
    note.textContent = words;
    read = reader;
    pad.classList.toggle("drawing", drawing);
    ink.fillStyle = spec.background;
    ink.fillRect(0, 0, pad.width, pad.height);
  }
  function paint(picture) {
    const fit = Math.min(pad.width / picture.width, pad.height / picture.height);
    const [width, height] = [fit * picture.width, fit * picture.height];
    ink.imageSmoothingEnabled = fit < 1;
    ink.drawImage(picture, (pad.width - width) / 2, (pad.height - height) / 2, width, height);
  }
  function useFile(file) {
    if (!file) return;
    const picture = () => createImageBitmap(file).catch(() => null);
    start(`${file.name}, sent as it is`, () => ({ file, picture }));
    createImageBitmap(file).then(paint, () => (note.textContent += "; this browser cannot show it"));
  }
  function useExample() {
    const seen = spec.width ? `${spec.width} × ${spec.height}` : "it in its own size";
    const picture = () => pictureOf(example).catch(() => null);
    start(`The built-in example. The model sees ${seen}.`, () => ({ item: example, picture }));
    pictureOf(example).then(paint, () => {});
  }
  function draw() {
    const blob = () => new Promise((done) => pad.toBlob((file) => done({ file, picture: () => pad })));
    start("Draw in the square.", blob, true);
  }
  function stroke(event) {
    if (!event.buttons || !pad.classList.contains("drawing")) return;
    const ratio = pad.width / pad.clientWidth;
    const here = [event.offsetX * ratio, event.offsetY * ratio];
    if (event.type === "pointerdown") last = here;
    ink.lineWidth = PAD_PX / 12;
    ink.lineCap = "round";
    ink.strokeStyle = spec.background === "black" ? "white" : "black";
    ink.beginPath();
    ink.moveTo(...(last ?? here));
    ink.lineTo(...here);
    ink.stroke();
    last = here;
  }
  function drop(event) {
    event.preventDefault();
    if (event.type === "drop") useFile(event.dataTransfer.files[0]);
  }
  useExample();
  const buttons = [button("Example", useExample), spec.channels === 1 && button("Draw", draw)];
  const node = h("div", { class: "drop", ondragover: drop, ondrop: drop }, pad,
    h("div", {}, picker("Choose a picture", "image/*", useFile), " or drop it here", h("p", {}, buttons), note));
  return { node, read: () => read() };
}

/** An image item (base64, a data: URI or pixel rows) as something a canvas can draw. */
async function pictureOf(item) {
  if (!Array.isArray(item)) {
    const picture = new Image();
    picture.src = item.b64 ? `data:image/png;base64,${item.b64}` : item;
    await picture.decode();
    return picture;
  }
  const rgba = ([red, green = red, blue = red]) => [red, green, blue, 255];
  const pixels = item.flat().flatMap((pixel) => rgba([pixel].flat()));
  return createImageBitmap(new ImageData(new Uint8ClampedArray(pixels), item[0].length));
}

function audio(spec, example) {
  const player = h("audio", { controls: true }), note = h("p", { class: "quiet" });
  const record = button("Record", start);
  let given, recorder;

  function use(words, next, sound) {
    note.textContent = words;
    given = next;
    player.hidden = !sound;
    if (!sound) return;
    URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(sound);
  }
  function useExample() {
    const bytes = example.b64 && Uint8Array.from(atob(example.b64), (one) => one.charCodeAt(0));
    use("The built-in example.", { item: example }, bytes && new Blob([bytes]));
  }
  function useFile(file) {
    if (!file) return;
    const type = { fLaC: "audio/flac", OggS: "audio/ogg" };
    file.slice(0, 4).text().then((begin) =>
      use(`${file.name}, sent as it is`, { file: new Blob([file], { type: type[begin] ?? "audio/wav" }) }, file));
  }
  async function start() {
    if (recorder?.state === "recording") return recorder.stop();
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      recorder = new MediaRecorder(stream);
      recorder.ondataavailable = (event) => heard(event.data).catch(fail);
      recorder.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        record.textContent = "Record";
      };
      recorder.start();
      record.textContent = "Stop";
    } catch (error) {
      fail(error);
    }
  }
  /** Browsers record in formats of their own; the samples are what they agree on. */
  async function heard(sound) {
    const context = new AudioContext({ sampleRate: spec.sample_rate });
    const buffer = await context.decodeAudioData(await sound.arrayBuffer());
    await context.close();
    const samples = Array.from(buffer.getChannelData(0), (value) => Number(value.toFixed(5)));
    const item = { samples, sample_rate: buffer.sampleRate };
    use(`Recorded, ${number(buffer.duration)} s`, { item }, sound);
  }
  function fail(error) {
    note.textContent = `This browser gives no microphone here: ${error.message}`;
  }
  useExample();
  const choice = [picker("Choose a recording", ".wav,.flac,.ogg,audio/*", useFile), record, button("Example", useExample)];
  const limit = h("span", { class: "quiet" }, ` WAV, FLAC or OGG, up to ${spec.max_seconds} s`);
  return { node: h("div", {}, player, note, h("p", {}, choice, limit)), read: () => given };
}

function text(spec, example) {
  const area = h("textarea", { rows: 4, required: true }, example);
  const limit = spec.max_tokens ? `, up to ${spec.max_tokens} tokens` : "";
  return { node: field(`Text${limit}`, area), read: () => ({ item: area.value }) };
}

function table(spec, example) {
  const cells = spec.columns.map((column, place) => {
    const { name, categories } = column;
    const value = Array.isArray(example) ? example[place] : example[name];
    const node = categories
      ? h("select", {}, categories.map((one) => h("option", { selected: one === value }, one)))
      : h("input", { type: "number", step: "any", required: true, value });
    return { node: field(name, node), read: () => [name, categories ? node.value : Number(node.value)] };
  });
  const read = () => ({ item: Object.fromEntries(cells.map((cell) => cell.read())) });
  return { node: h("div", { class: "cells" }, cells.map((cell) => cell.node)), read };
}

function series(spec, example) {
  const charts = h("div"), note = h("p", { class: "quiet" });
  let given;

  function use(words, next) {
    given = next;
    note.textContent = words;
    const seen = Object.entries(next.history).slice(0, 4);
    charts.replaceChildren(...seen.map(([name, values]) => lines(name, values.slice(-spec.length))));
  }
  function useExample() {
    const column = (name, place) =>
      Array.isArray(example) ? example.map((row) => [row].flat()[place]) : example[name];
    const history = Object.fromEntries(spec.columns.map((name, place) => [name, column(name, place)]));
    use(`The built-in example. The model sees the last ${spec.length} steps.`, { item: example, history });
  }
  async function useFile(file) {
    if (!file) return;
    // Read here for the chart only: the server reads the file itself and says what is wrong in it.
    const [header, ...rows] = (await file.text()).trim().split(/\r?\n/).map((row) => row.split(","));
    const column = (name, place) => [name.trim(), rows.map((row) => Number(row[place]))];
    const history = Object.fromEntries(header.map(column));
    use(`${file.name}, ${rows.length} steps`, { file: new Blob([file], { type: "text/csv" }), history });
  }
  useExample();
  const choice = [picker("Choose a CSV", ".csv,text/csv", useFile), button("Example", useExample)];
  const wanted = h("span", { class: "quiet" }, ` with the columns ${spec.columns.join(", ")}`);
  return { node: h("div", {}, charts, note, h("p", {}, choice, wanted)), read: () => given };
}

function none(spec, example) {
  const asked = spec.labels.length ? [{ name: "label", values: spec.labels }] : spec.attributes;
  const wishes = asked.map(({ name, values }) => {
    const option = (value, words) => h("option", { value, selected: value === example[name] }, words);
    return [name, h("select", {}, option("", "any"), values.map((one) => option(one, one)))];
  });
  const whole = (more) => h("input", { type: "number", step: 1, ...more });
  const seed = whole({ min: 0, max: Number.MAX_SAFE_INTEGER, value: example.seed, placeholder: "random" });
  const n = whole({ min: 1, max: 64, value: example.n ?? 8, required: true });
  const read = () => ({
    item: {
      n: Number(n.value),
      ...Object.fromEntries(wishes.map(([name, node]) => [name, node.value]).filter(([, value]) => value)),
      ...(seed.value && { seed: Number(seed.value) }),
    },
  });
  const choice = wishes.map(([name, node]) => field(name[0].toUpperCase() + name.slice(1), node));
  const fields = [...choice, field("Seed", seed), field("How many", n)];
  return { node: h("div", { class: "cells" }, fields), read };
}

function anything(spec, example) {
  const area = h("textarea", { rows: 6, required: true, spellcheck: "false" }, example === null ? "" : JSON.stringify(example));
  const read = () => {
    try {
      return { item: JSON.parse(area.value) };
    } catch (error) {
      throw new Problem(0, "Not JSON", `Not JSON: ${error.message}`);
    }
  };
  return { node: field(`${spec.kind}, one item as JSON`, area), read };
}
