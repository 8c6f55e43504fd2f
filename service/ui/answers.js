// Answers as a person wants to see them: one function per answer kind, JSON for the others.
// A test checks that what is read from `answer` and `spec` is there in the API's own answers.

import { bar, h, number, svg } from "./dom.js";

const MAX_BARS = 12;
const MAX_CHARTS = 6;

const KINDS = { action, classes, boxes, image, mask, forecast, anomaly, vector, text, transcript, explanation };

/** One answer. `history` is what the model saw, as {column: numbers}, where that is known, and
 * `picture` the one that it saw, where the browser can draw it.
 */
export function show(spec, answer, history = {}, picture = null) {
  return KINDS[spec.kind]?.(spec, answer, history, picture) ?? h("pre", {}, JSON.stringify(answer, null, 1));
}

function bars(rows, most, tone) {
  const shown = rows.slice(0, MAX_BARS).map(([name, value, text, own]) =>
    h("li", {}, h("span", { title: name }, name), bar(value / most, own ?? tone), h("b", {}, text)),
  );
  const more = rows.length - shown.length;
  return [h("ol", { class: "bars" }, shown), more > 0 && h("p", { class: "quiet" }, `and ${more} more`)];
}

const percent = (score) => `${(100 * score).toFixed(1)} %`;

function classes(spec, answer) {
  return h("div", {},
    h("p", { class: "verdict" }, h("b", {}, answer.label), ` ${percent(answer.score)}`),
    bars(answer.top.map((one) => [one.label, one.score, percent(one.score)]), 1),
  );
}

function action(spec, answer) {
  if (spec.bounds) {
    const rows = answer.action.map((value, place) => {
      const [low, high] = spec.bounds[place];
      return [spec.names[place], (value - low) / (high - low), `${number(value)} (${low} to ${high})`];
    });
    return h("div", {}, bars(rows, 1));
  }
  const rows = answer.probabilities.map((chance, place) => [spec.names[place], chance, percent(chance)]);
  return h("div", {},
    h("p", { class: "verdict" }, h("b", {}, spec.names[answer.action - spec.first]),
      ` action ${answer.action}`),
    bars(rows, 1));
}

function image(spec, answer) {
  const figures = answer.images.map((one) => {
    const seed = one.seed == null ? null : `seed ${one.seed}`;
    const words = [one.label, ...Object.values(one.attributes ?? {}), seed].filter((word) => word != null);
    return h("figure", {},
      h("img", { src: `data:image/png;base64,${one.b64}`, alt: ["Made by the model", ...words].join(", ") }),
      h("figcaption", {}, words.join(" · ")),
    );
  });
  // Without a seed it was made from a picture, and is as large.
  const drawn = answer.images.some((one) => one.seed != null);
  return h("div", { class: drawn ? "sheet" : "" }, figures);
}

/** Colours that are told apart beside one another: a golden angle between hues. */
const colour = (place) => `hsl(${(210 + 137.5 * place) % 360} 85% 45%)`;

/** The boxes over the picture, and a list of them. */
function boxes(spec, answer, history, picture) {
  const found = answer.boxes;
  const tone = (label) => colour(spec.labels.indexOf(label));
  const board = picture && canvas(picture, (ink, unit) => {
    ink.font = `600 ${12 * unit}px system-ui, sans-serif`;
    ink.lineWidth = 2 * unit;
    for (const { label, score, box } of found.toReversed()) {
      const [left, top, right, bottom] = box, words = `${label} ${percent(score)}`;
      ink.strokeStyle = ink.fillStyle = tone(label);
      ink.strokeRect(left, top, right - left, bottom - top);
      const above = Math.max(top, 16 * unit);
      ink.fillRect(left - unit, above - 16 * unit, ink.measureText(words).width + 8 * unit, 16 * unit);
      ink.fillStyle = "white";
      ink.fillText(words, left + 3 * unit, above - 4 * unit);
    }
  });
  const rows = found.map((one) => [one.label, one.score, percent(one.score)]);
  return h("div", {},
    h("p", { class: "verdict" }, h("b", {}, found.length), found.length === 1 ? " object" : " objects"),
    board, bars(rows, 1));
}

/** The mask in colours over the picture, and how much each class has of it. */
function mask(spec, answer, history, picture) {
  const layer = new Image();
  layer.src = `data:image/png;base64,${answer.mask.b64}`;
  const place = h("div");
  layer.decode().then(() => place.replaceChildren(canvas(picture ?? layer, (ink) => {
    const { width, height } = layer;
    const paper = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    paper.drawImage(layer, 0, 0);
    const numbers = paper.getImageData(0, 0, width, height).data;
    answer.labels.forEach((label, number) => {
      paper.clearRect(0, 0, width, height);
      const cut = paper.createImageData(width, height);
      for (let k = 0; k < numbers.length; k += 4) cut.data[k + 3] = numbers[k] === number ? 255 : 0;
      paper.putImageData(cut, 0, 0);
      paper.globalCompositeOperation = "source-in";
      paper.fillStyle = number ? colour(number - 1) : "black";
      paper.fillRect(0, 0, width, height);
      paper.globalCompositeOperation = "source-over";
      ink.globalAlpha = number ? 0.65 : 0.25;
      ink.drawImage(paper.canvas, 0, 0, ink.canvas.width, ink.canvas.height);
    });
  })), () => {});
  const there = answer.labels.map((label, number) => [label, number, answer.share[label]]);
  const legend = there.filter(([, number, share]) => number && share > 0).map(([label, number, share]) => {
    const dot = h("i", { class: "dot" });
    dot.style.background = colour(number - 1);
    return h("li", {}, dot, `${label} ${percent(share)}`);
  });
  return h("div", {}, place, h("ul", { class: "legend" }, legend),
    h("p", { class: "quiet" }, `${answer.labels[0]} ${percent(answer.share[answer.labels[0]])}`));
}

/** A picture to draw on in its own pixels; `unit` is how many of them are one on the screen. */
function canvas(picture, draw) {
  const { width, height } = picture;
  const wide = Math.min(innerWidth - 56, 560, (width / height) * 480);
  const scale = Math.max(1, Math.min(4, wide / width));
  const board = h("canvas", { width: scale * width, height: scale * height, class: "seen", role: "img",
    "aria-label": "The picture with the answer drawn on it" });
  board.style.maxWidth = `min(100%, ${wide}px)`;
  const ink = board.getContext("2d");
  ink.scale(scale, scale);
  ink.imageSmoothingEnabled = scale === 1;
  ink.drawImage(picture, 0, 0, width, height);
  draw(ink, width / wide);
  return board;
}

function anomaly(spec, answer, history, picture) {
  const most = 1.1 * Math.max(answer.score, answer.threshold) || 1;
  const tone = answer.anomalous ? "bad" : "good";
  const gauge = bar(answer.score / most, tone);
  const mark = h("u");
  mark.style.left = `${(100 * answer.threshold) / most}%`;
  gauge.append(mark);
  const parts = answer.contributions.map((one) => [one.feature, one.contribution]);
  const rows = parts.map(([name, value]) => [name, value, number(value)]);
  return h("div", {},
    h("p", { class: `verdict ${tone}` }, h("b", {}, answer.anomalous ? "Anomalous" : "Normal"),
      ` score ${number(answer.score)}, threshold ${number(answer.threshold)}`),
    gauge,
    answer.map && heat(answer.map.b64, picture, "Red: where it is unusual"),
    h("p", { class: "quiet" },
      `The mark is the threshold; ${number(100 * spec.false_alarm_rate)} % of normal rows pass it.`),
    h("h4", {}, "What each feature adds"),
    bars(rows, Math.max(...parts.map(([, value]) => value)) || 1, tone),
  );
}

/** A heat map in red over the picture it is of: the brighter the map, the redder. */
function heat(b64, picture, words) {
  const map = new Image();
  map.src = `data:image/png;base64,${b64}`;
  const place = h("div");
  map.decode().then(() => place.replaceChildren(canvas(picture ?? map, (ink) => {
    const { width, height } = map;
    const paper = new OffscreenCanvas(width, height).getContext("2d");
    paper.drawImage(map, 0, 0);
    const pixels = paper.getImageData(0, 0, width, height);
    for (let at = 0; at < pixels.data.length; at += 4) {
      pixels.data.set([255, 0, 0, 0.7 * pixels.data[at]], at);
    }
    paper.putImageData(pixels, 0, 0);
    const seen = picture ?? map;
    ink.drawImage(paper.canvas, 0, 0, seen.width, seen.height);
  })), () => {});
  return h("figure", {}, place, h("figcaption", {}, words));
}

/** What each part of an item does to a number of its answer. */
function explanation(spec, answer, history, picture) {
  const parts = answer.contributions;
  const most = Math.max(...parts.map((part) => Math.abs(part.contribution))) || 1;
  const seen = answer.map ? heat(answer.map.b64, picture, `Red: what speaks for ${answer.target}`)
    : "text" in parts[0] ? marked(parts, most) : null;
  const rows = parts.map((part) => [called(part), Math.abs(part.contribution),
    signed(part.contribution), part.contribution < 0 ? "bad" : "good"]);
  return h("div", {},
    h("p", { class: "verdict" }, h("b", {}, answer.target), ` ${number(answer.value)}`),
    h("p", { class: "quiet" }, `Without any of its parts it would be ${number(answer.baseline)}. What each `
      + `part adds to that or takes from it${answer.exact ? "" : ", estimated"}:`),
    seen, answer.map ? null : bars(rows.toSorted((one, other) => other[1] - one[1]), most));
}

const signed = (value) => (value < 0 ? "" : "+") + number(value);
const called = (part) => part.text ?? (part.feature ? `${part.feature} = ${Number.isFinite(part.value) ? number(part.value) : part.value}`
  : `${part.column}, steps ${part.start} to ${part.end}`);

/** The words of a text, green where they speak for the target and red where against it. */
function marked(parts, most) {
  return h("p", { class: "said" }, parts.flatMap((part) => {
    const mark = h("mark", { title: signed(part.contribution) }, part.text);
    mark.style.background = `color-mix(in srgb, var(--${part.contribution < 0 ? "bad" : "good"}) `
      + `${(60 * Math.abs(part.contribution)) / most}%, transparent)`;
    return [mark, " "];
  }));
}

function forecast(spec, answer, history) {
  const pick = (rows, place) => rows.map((row) => row[place]);
  const charts = spec.columns.slice(0, MAX_CHARTS).map((name, place) =>
    lines(name, (history[name] ?? []).slice(-Math.max(48, 2 * spec.horizon)),
      ...[answer.values, answer.lower, answer.upper].map((rows) => pick(rows, place))),
  );
  const more = spec.columns.length - charts.length;
  return h("div", {}, charts,
    h("p", { class: "quiet" }, more > 0 && `The first ${MAX_CHARTS} of ${spec.columns.length}. `,
      h("span", { class: "key past" }, "what it saw"), h("span", { class: "key next" }, "forecast"),
      h("span", { class: "key band" }, `${number(100 * spec.coverage)} % interval`)),
  );
}

function text(spec, answer) {
  return h("div", {}, h("p", { class: "said" }, answer.text),
    h("p", { class: "quiet" }, `${answer.tokens} tokens · ended by ${answer.finish_reason}`));
}

function transcript(spec, answer) {
  const head = h("tr", {}, ["Word", "from", "to", "score"].map((name) => h("th", { scope: "col" }, name)));
  const rows = answer.words.map((one) =>
    h("tr", {}, h("th", { scope: "row" }, one.word),
      [`${one.start.toFixed(2)} s`, `${one.end.toFixed(2)} s`, `${(100 * one.score).toFixed(1)} %`].map((cell) => h("td", {}, cell))));
  return h("div", {}, h("p", { class: "said" }, answer.text || "Nothing was said."),
    rows.length > 0 && h("table", {}, h("thead", {}, head), h("tbody", {}, rows)));
}

function vector(spec, answer) {
  const values = answer.vector;
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const tall = 80 / (high - low || 1), wide = 600 / values.length;
  const sticks = values.map((value, place) =>
    svg("rect", { x: place * wide, y: tall * (high - Math.max(0, value)), width: 0.8 * wide,
      height: tall * Math.abs(value), class: value < 0 ? "below" : "above" }));
  return h("div", {},
    svg("svg", { class: "chart", viewBox: "0 0 600 80", role: "img", preserveAspectRatio: "none",
      "aria-label": `${values.length} numbers as bars` }, sticks),
    h("p", { class: "quiet" }, `${values.length} numbers from ${number(Math.min(...values))} to `
      + number(Math.max(...values))),
    h("pre", { class: "short wrap", tabindex: "0" }, values.map(number).join("  ")));
}

/** A line of what was and, where given, of what will be with its interval. */
export function lines(name, past, next = [], lower = [], upper = []) {
  const width = Math.min(480, innerWidth - 56), height = 160, left = 46, bottom = height - 22;
  const all = [past, next, lower, upper].flat().filter(Number.isFinite);
  const [low, high, ticks] = scale(Math.min(...all), Math.max(...all));
  const count = Math.max(2, past.length + next.length);
  const x = (place) => left + ((width - left - 8) * place) / (count - 1);
  const y = (value) => bottom - ((bottom - 8) * (value - low)) / (high - low);
  const line = (values, from) => values.map((value, k) => `${x(from + k)},${y(value)}`);
  const begin = past.length;
  const joined = begin ? [past[begin - 1], ...next] : next;
  const grid = ticks.map((tick) => [
    svg("line", { x1: left, x2: width - 8, y1: y(tick), y2: y(tick) }),
    svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, number(tick)),
  ]);
  const marks = [
    begin > 1 && [0, "start", `−${begin}`],
    begin > 0 && [begin - 1, next.length ? "middle" : "end", "now"],
    next.length > 0 && [count - 1, "end", `+${next.length}`],
  ];
  return h("figure", { class: "lines" },
    h("figcaption", {}, name),
    svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `${name}: ${begin} past steps, ${next.length} forecast` },
      svg("g", { class: "grid" }, grid),
      svg("polygon", { class: "band",
        points: [...line(upper, begin), ...line(lower, begin).reverse()].join(" ") }),
      svg("polyline", { class: "past", points: line(past, 0).join(" ") }),
      svg("polyline", { class: "next", points: next.length ? line(joined, Math.max(0, begin - 1)).join(" ") : "" }),
      marks.filter(Boolean).map(([place, anchor, text]) =>
        svg("text", { x: x(place), y: height - 5, "text-anchor": anchor }, text)),
    ),
  );
}

/** Round bounds and about four ticks around the numbers of a chart. */
function scale(least, most) {
  if (!(most > least)) [least, most] = [least - 1 || -1, least + 1 || 1];
  const rough = (most - least) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.floor(least / step), last = Math.ceil(most / step);
  const ticks = Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step);
  return [ticks[0], ticks.at(-1), ticks];
}
