// Asking the hub. Addresses are relative, so the page also works under a proxy's path.

const KEY = "modelhub.key";

/** The key of this tab: never in a cookie, an address or lasting storage. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** A refusal, in the server's own words. Status 0: nobody answered. */
export class Problem extends Error {
  constructor(status, title, detail) {
    super(detail);
    this.status = status;
    this.title = title;
  }
}

/** The response to a request that went well; otherwise throws Problem. */
export async function call(path, { method = "GET", body, type } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(path, { method, body, headers, cache: "no-store" });
  } catch {
    throw new Problem(0, "No answer", "The hub cannot be reached.");
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail ?? problem.reason ?? response.statusText;
  throw new Problem(response.status, problem.title ?? "Refused", detail);
}

/** What a stream of server-sent events says, event by event. Throws what one of them reports. */
export async function* events(response) {
  let waiting = "";
  for await (const part of parts(response.body.pipeThrough(new TextDecoderStream()))) {
    const pieces = (waiting + part).split("\n\n");
    waiting = pieces.pop();
    for (const data of pieces.map((piece) => piece.slice("data: ".length))) {
      if (data === "[DONE]") return;
      const said = JSON.parse(data);
      if (said.error) throw new Problem(said.error.status, said.error.title, said.error.detail);
      yield said;
    }
  }
}

/** Not every browser lets `for await` read a stream itself. */
async function* parts(stream) {
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
}

/** A file of a bundle as an address that an <img> can use (its own request would have no key). */
export async function blobUrl(path) {
  return URL.createObjectURL(await (await call(path)).blob());
}

/** `/v1/…/a b.png` as the listing names it → relative and escaped. */
export const relative = (path) => path.slice(1).split("/").map(encodeURIComponent).join("/");
