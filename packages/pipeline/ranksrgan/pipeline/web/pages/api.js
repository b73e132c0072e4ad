// Requests to our own server. What goes wrong is an Error whose message is meant for people.

export class ApiError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("SERVICE_UNAVAILABLE", "This page’s own server does not answer.");
  }
  let content = null;
  try {
    content = await answer.json();
  } catch {
    // Not one of our answers: a proxy's error page, say.
  }
  if (answer.ok && content !== null) return content;
  const error = content?.error;
  throw new ApiError(error?.code ?? "INTERNAL", error?.message ?? `The server answered ${answer.status}.`);
}

export function post(path, content) {
  const options = { method: "POST" };
  if (content !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(content);
  }
  return ask(path, options);
}

// An element with attributes and children; `on…` are listeners, null leaves one out.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

// What the browser remembers between visits; where it refuses to, until the page is left.
const visit = new Map();

export function remember(key, value) {
  visit.set(key, value);
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Then it is asked again next time.
  }
}

export function recall(key, otherwise) {
  if (visit.has(key)) return visit.get(key) ?? otherwise;
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(key));
  } catch {
    // Refused, or not ours.
  }
  return kept ?? otherwise;
}
