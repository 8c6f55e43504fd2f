// Draws cartoon faces: {"size": n, "wishes": [options of dicebear, …]} on standard input → RGBA bytes
// of each on standard output. The one argument is a folder with node_modules in it.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { createAvatar } = await import(require.resolve("@dicebear/core"));
const style = await import(require.resolve("@dicebear/avataaars"));
const { initWasm, Resvg } = require("@resvg/resvg-wasm");
await initWasm(readFileSync(require.resolve("@resvg/resvg-wasm/index_bg.wasm")));

const { size, wishes } = JSON.parse(readFileSync(0));
const pixels = Buffer.alloc(wishes.length * size * size * 4);
wishes.forEach((wish, place) => {
  const drawing = new Resvg(createAvatar(style, wish).toString(), { fitTo: { mode: "width", value: size } });
  const image = drawing.render();
  pixels.set(image.pixels, place * size * size * 4);
  image.free(); // what WebAssembly holds is not collected
  drawing.free();
});
process.stdout.write(pixels);
