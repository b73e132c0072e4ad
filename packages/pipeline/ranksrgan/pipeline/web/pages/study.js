// Voting: one pair after the other, until none is left.

import { ask, post, recall, remember } from "./api.js";
import { Camera, View, connectZoom } from "./view.js";

const byId = (id) => document.getElementById(id);
const study = decodeURIComponent(location.pathname.split("/")[2]);
const api = `/api/studies/${encodeURIComponent(study)}`;
const sides = ["left", "right"];
const memory = `ranksrgan.rater.${study}`;

const camera = new Camera();
const views = Object.fromEntries(sides.map((side) => [side, new View(byId(side), camera)]));
const preloaded = new Map(); // images of the pair that comes next, by address

let rater = null;
let pair = null; // that is voted on; null while there is none, or its images are not there
let since = 0; // when they were

// --- Who votes --------------------------------------------------------------------------------

async function join(name) {
  tell("join-problem", null);
  try {
    const next = await ask(`${api}/next?rater=${encodeURIComponent(name)}`);
    rater = next.rater;
    remember(memory, rater);
    byId("who").textContent = rater;
    await show(next);
  } catch (error) {
    reveal("intro");
    tell("join-problem", error.message);
    byId("rater").focus();
  }
}

function leave() {
  remember(memory, null);
  rater = pair = null;
  byId("rater").value = "";
  reveal("intro");
  byId("rater").focus();
}

function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(5));
  return `anonymous-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// --- Pairs ------------------------------------------------------------------------------------

async function show(next) {
  tell("problem", null);
  byId("bar").max = next.total;
  byId("bar").value = next.done;
  if (next.pair === null) {
    finish(next);
    return;
  }
  byId("count").textContent = `Pair ${next.done + 1} of ${next.total}`;
  byId("undo").disabled = next.done === 0;
  reveal("main");
  camera.fit();
  const { token, width, height } = next.pair;
  const words = { left: "Left version", right: "Right version" };
  // Both at once: who sees one first looks at it longer.
  byId("pair").classList.add("waiting");
  await Promise.all(sides.map((side) =>
    views[side].show(byId(side).querySelector(".layer"), address(token, side), words[side], width, height)));
  byId("pair").classList.remove("waiting");
  pair = token;
  since = performance.now();
  allow(true);
  if (next.after !== null) preload(next.after.token);
}

function address(token, side) {
  return `${api}/images/${token}/${side}?rater=${encodeURIComponent(rater)}`;
}

function preload(token) {
  preloaded.clear();
  for (const side of sides) {
    const image = new Image();
    image.src = address(token, side);
    preloaded.set(image.src, image);
  }
}

async function vote(choice) {
  if (pair === null) return; // between two pairs
  const ballot = { rater, pair, choice, milliseconds: Math.round(performance.now() - since) };
  await proceed(() => post(`${api}/votes`, ballot));
}

async function undo() {
  await proceed(() => post(`${api}/undo`, { rater }));
}

// Ask for the next pair in some way. If that fails, the one at hand stays.
async function proceed(request) {
  const before = pair;
  pair = null;
  allow(false);
  try {
    await show(await request());
  } catch (error) {
    pair = before;
    allow(true);
    tell("problem", `${error.message || "An image could not be loaded."} Your last choice may not be counted; please try again.`);
  }
}

function finish({ total }) {
  for (const side of sides) views[side].clear();
  byId("summary").textContent = `You, ${rater}, have voted on all ${total} pairs.`;
  byId("results").href = `/study/${encodeURIComponent(study)}/results`;
  reveal("end");
  byId("thanks").focus();
}

// --- The page ---------------------------------------------------------------------------------

function reveal(id) {
  for (const part of ["intro", "main", "end"]) byId(part).hidden = part !== id;
}

function allow(voting) {
  for (const button of document.querySelectorAll("[data-choice]")) {
    // Not `disabled`, which would take the focus away from who votes with Enter.
    button.setAttribute("aria-disabled", !voting);
  }
}

function tell(id, problem) {
  byId(id).hidden = problem === null;
  byId(id).textContent = problem ?? "";
}

const keys = {
  ArrowLeft: () => vote("left"),
  ArrowRight: () => vote("right"),
  ArrowDown: () => vote("tie"),
  Backspace: () => undo(),
  Delete: () => undo(),
};

// Here arrows vote; with Shift they move the images.
addEventListener("keydown", (event) => {
  if (byId("main").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in keys && !event.shiftKey) {
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) keys[event.key]();
  } else if (views.left.key(event)) {
    event.preventDefault();
  }
}, { capture: true });

byId("join").addEventListener("submit", (event) => {
  event.preventDefault();
  join(byId("rater").value);
});
byId("anonymous").addEventListener("click", () => join(randomName()));
byId("leave").addEventListener("click", leave);
byId("another").addEventListener("click", leave);
byId("undo").addEventListener("click", undo);
byId("undo-last").addEventListener("click", undo);
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => vote(button.dataset.choice));
}
connectZoom(byId("zoom"), views.left);
document.title = `${study} · RankSRGAN`;
byId("study-name").textContent = study;

const known = recall(memory, null);
if (known === null) reveal("intro");
else await join(known);
