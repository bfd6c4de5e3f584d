// The JSON API: one way to ask it, and one shape of what goes wrong.

const csrfToken = document.querySelector('meta[name="csrf-token"]')?.content ?? "";

/** What the API refused. `code` and `present` are as in its problem details; `status` is 0 when nobody answered. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(sentence(problem.detail ?? "something went wrong"));
    this.status = status;
    this.code = problem.code ?? "";
    this.present = problem.present ?? null;
    this.errors = problem.errors ?? [];
  }
}

export const get = (path, query = {}, options = {}) => ask("GET", `${path}${queryString(query)}`, undefined, options);
export const post = (path, body, options) => ask("POST", path, body, { idempotencyKey: crypto.randomUUID(), ...options });
export const patch = (path, body) => ask("PATCH", path, body);
export const put = (path, body) => ask("PUT", path, body);
/** Posts a file as it is. */
export const upload = (path, file, type) => ask("POST", path, file, { idempotencyKey: crypto.randomUUID(), type });
export const remove = (path) => ask("DELETE", path);

async function ask(method, path, body, { signal, idempotencyKey, type = "application/json" } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrfToken;
  if (body !== undefined) headers["Content-Type"] = type;
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  const sent = body instanceof Blob || body === undefined ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: sent });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { code: "offline", detail: "GuestGuard cannot be reached. Check your connection and try again" });
  }
  if (response.status === 401) {
    location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  const text = await response.text();
  const answer = text ? parsed(text) : null;
  if (!response.ok) throw new Refusal(response.status, answer ?? {});
  return answer;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { detail: "GuestGuard gave an answer that cannot be read. Try again in a moment" };
  }
}

function queryString(query) {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    value === null || value === undefined ? [] : [value].flat().map((each) => [name, each]),
  );
  return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
}

function sentence(text) {
  const capitalised = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capitalised) ? capitalised : `${capitalised}.`;
}
