// The endpoint, as the page speaks to it: the token, errors in words, uploads that tell how far they are.

import { sentence } from "./words.js";

const KEY = "chestseg-token";
const TRIES = 8;

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

// Why there is no answer, in words for who sits before the page. `status` is 0 where nothing came back.
export class Failure extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export class Cancelled extends Error {}

// One request. `path` is relative to the page; `body` a Blob or FormData; `told` hears the share that was sent, 0 to 1, and then
// nothing until the answer; `busy` hears for how many seconds a full service is left alone.
export async function ask(path, { method = "GET", body = null, headers = {}, kind = "json", told = () => {}, busy = () => {}, signal } = {}) {
  for (let tries = 1; ; tries += 1) {
    const answer = await once(path, method, body, headers, kind, told, signal);
    const wait = Number(answer.header("Retry-After"));
    if ((answer.status !== 429 && answer.status !== 503) || !wait || tries === TRIES) return checked(answer, kind);
    busy(wait);
    await sleep(wait * 1000, signal);
  }
}

export function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new Cancelled());
    const stop = () => { clearTimeout(timer); reject(new Cancelled()); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", stop); resolve(); }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
    return undefined;
  });
}

// XMLHttpRequest, because fetch does not tell how much of a body was sent.
function once(path, method, body, headers, kind, told, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(new Cancelled());
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = kind === "json" ? "text" : "blob";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    if (token.get()) request.setRequestHeader("Authorization", `Bearer ${token.get()}`);
    request.upload.onprogress = (event) => { if (event.lengthComputable) told(event.loaded / event.total); };
    request.onload = () => resolve({ status: request.status, body: request.response, header: (name) => request.getResponseHeader(name) });
    request.onerror = () => reject(new Failure("The service can't be reached, or it closed the connection, as it does where a file is too large: try again, and if it stays so ask who runs it."));
    request.onabort = () => reject(new Cancelled());
    const stop = () => request.abort();
    request.onloadend = () => signal?.removeEventListener("abort", stop);
    signal?.addEventListener("abort", stop, { once: true });
    request.send(body);
    return undefined;
  });
}

async function checked(answer, kind) {
  if (answer.status >= 200 && answer.status < 300) {
    answer.data = kind === "json" && answer.body ? JSON.parse(answer.body) : answer.body;
    return answer;
  }
  throw new Failure(await inWords(answer), answer.status);
}

async function inWords(answer) {
  const text = typeof answer.body === "string" ? answer.body : await answer.body.text();
  try {
    const { message, request_id: id } = JSON.parse(text).error;
    return answer.status < 500 ? sentence(message) : `${sentence(message)} Request ${id}.`;
  } catch {
    return `The service answered ${answer.status} without saying why: try again later.`;
  }
}

// Hand a Blob to the browser to be saved.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
