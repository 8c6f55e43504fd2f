// Nodes and numbers. Data only ever becomes text nodes and attributes: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `on…` properties are listeners; true, false and null switch an attribute. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same in SVG. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child != null && child !== false));
  return node;
}

/** A definition list of [name, value] pairs; those without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value != null && value !== "");
  return h("dl", {}, shown.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

/** A bar `share` (0 to 1) of its row long. */
export function bar(share, tone = "") {
  const inside = h("i", { class: tone });
  inside.style.width = `${100 * Math.min(1, Math.max(0, share))}%`;
  return h("span", { class: "bar" }, inside);
}

/** A command or a body to copy. */
export function code(text) {
  const shown = h("pre", { tabindex: "0", class: text.includes("\n") ? "" : "wrap" }, text);
  const copy = h("button", { type: "button", onclick: put }, "Copy");
  async function put() {
    getSelection().selectAllChildren(shown);
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      document.execCommand("copy"); // over plain HTTP there is no clipboard API
    }
    getSelection().empty();
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  }
  return h("div", { class: "code" }, shown, copy);
}

export const words = (name) => name.replaceAll("_", " ");
export const number = (value) => String(Number(Number(value).toPrecision(4)));

export function bytes(count) {
  const power = Math.min(3, Math.floor(Math.log10(Math.max(1, count)) / 3));
  return `${number((count / 1000 ** power).toPrecision(3))} ${["B", "kB", "MB", "GB"][power]}`;
}
