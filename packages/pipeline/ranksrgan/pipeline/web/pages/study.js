// Voting: one pair after the other, until none is left.

import { ask, post, recall, remember } from "./api.js";
import { Camera, View, connectZoom } from "./view.js";

const byId = (id) => document.getElementById(id);
const study = decodeURIComponent(location.pathname.split("/")[2]);
const api = `/api/studies/${encodeURIComponent(study)}`;
const sides = ["left", "right"];
const memory = `ranksrgan.rater.${study}`;
const ANNOUNCED = 100; // milliseconds that screen readers need to know a part of the page
const REFUSED = new Set(["INVALID_INPUT", "UNKNOWN_NAME"]); // asking again would not help

const camera = new Camera();
const views = Object.fromEntries(sides.map((side) => [side, new View(byId(side), camera)]));
const preloaded = new Map(); // images of the pair that comes next, by address

let rater = null;
let state = null; // the server's last answer: the pair that is shown, and what undo takes back
let pair = null; // that is voted on; null while there is none, or its images are not there
let since = 0; // when they were
let asking = false; // one request at a time: each is about what is on the screen
let turn = 0; // counts what is shown, so that images that come late change nothing

// --- Who votes --------------------------------------------------------------------------------

async function join(name) {
  tell("join-problem", null);
  const mine = ++turn;
  let next;
  try {
    next = await ask(`${api}/next?rater=${encodeURIComponent(name)}`);
  } catch (error) {
    if (mine !== turn) return;
    reveal("intro");
    tell("join-problem", error.message);
    byId("rater").focus();
    return;
  }
  if (mine !== turn) return; // another name came after
  rater = next.rater;
  remember(memory, rater);
  byId("who").textContent = rater;
  await show(next);
}

function leave() {
  remember(memory, null);
  turn++;
  rater = state = pair = null;
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
  const mine = ++turn;
  state = next;
  pair = null;
  allow();
  complain(null);
  if (document.activeElement === byId("reload")) byId("question").focus();
  byId("reload").hidden = true;
  byId("bar").max = next.total;
  byId("bar").value = next.done;
  if (next.pair === null) {
    finish(next);
    return;
  }
  // Not `disabled`, which would take the focus away from who takes back the only vote.
  byId("undo").setAttribute("aria-disabled", next.last === 0);
  const count = `Pair ${next.done + 1} of ${next.total}`;
  if (byId("main").hidden) {
    byId("count").textContent = "";
    reveal("main");
    byId("question").focus(); // what had the focus is hidden now
    // Only what changes while it can be seen is read out.
    setTimeout(() => mine === turn && (byId("count").textContent = count), ANNOUNCED);
  } else {
    byId("count").textContent = count;
  }
  camera.fit();
  const { token, width, height } = next.pair;
  const words = { left: "Left version", right: "Right version" };
  // Both at once: who sees one first looks at it longer.
  byId("pair").classList.add("waiting");
  try {
    await Promise.all(sides.map((side) =>
      views[side].show(byId(side).querySelector(".layer"), address(token, side), words[side], width, height)));
  } catch {
    if (mine !== turn) return;
    complain("An image of this pair could not be loaded.");
    byId("reload").hidden = false;
    return;
  }
  if (mine !== turn) return; // another pair came after
  byId("pair").classList.remove("waiting");
  pair = token;
  since = performance.now();
  allow();
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
  if (pair === null || asking) return; // between two pairs
  const ballot = { rater, pair, choice, milliseconds: Math.round(performance.now() - since) };
  await proceed(() => post(`${api}/votes`, ballot));
}

async function undo() {
  if (state === null || state.last === 0) return;
  const { last } = state;
  await proceed(() => post(`${api}/undo`, { rater, position: last }));
}

// Ask for the next pair in some way. If nobody answers, the one at hand stays; what was refused
// (the pair has been answered in another window, say) the server's own next pair replaces.
async function proceed(request) {
  if (asking) return;
  asking = true;
  allow();
  const who = rater;
  let next = null;
  let problem = null;
  try {
    next = await request();
  } catch (error) {
    problem = error;
    if (REFUSED.has(error.code)) {
      next = await ask(`${api}/next?rater=${encodeURIComponent(who)}`).catch(() => null);
    }
  }
  asking = false;
  allow();
  if (who !== rater) return; // who has left meanwhile
  const shown = next === null ? null : show(next);
  if (problem !== null) {
    complain(next === null ? `${problem.message} Your last choice may not be counted; please try again.` : problem.message);
  }
  await shown;
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

function allow() {
  for (const button of document.querySelectorAll("[data-choice]")) {
    // Not `disabled`, which would take the focus away from who votes with Enter.
    button.setAttribute("aria-disabled", pair === null || asking);
  }
}

// Say what is wrong where it is seen, among pairs and at their end.
function complain(problem) {
  tell("problem", problem);
  tell("end-problem", problem);
}

function tell(id, problem) {
  byId(id).hidden = problem === null;
  byId(id).textContent = problem ?? "";
}

const keys = {
  ArrowLeft: () => vote("left"),
  ArrowRight: () => vote("right"),
  n: () => vote("tie"), // not the arrow down, with which one scrolls where not all fits the window
  Backspace: () => undo(),
  Delete: () => undo(),
};

// Here arrows vote; with Shift they move the images. Among the buttons of the zoom they do nothing:
// who goes from one to the next votes on nothing.
addEventListener("keydown", (event) => {
  if (byId("main").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  const key = event.key === "N" ? "n" : event.key; // with Caps Lock
  if (key in keys && !event.shiftKey) {
    if (event.target.closest("#zoom")) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) keys[key]();
  } else if ((event.shiftKey || !key.startsWith("Arrow")) && views.left.key(event)) {
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
byId("reload").addEventListener("click", () => show(state));
byId("undo-last").addEventListener("click", undo);
for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => vote(button.dataset.choice));
}
connectZoom(byId("zoom"), views.left);
// A click leaves the focus where it is, so that who zooms by hand goes on with the keys.
byId("zoom").addEventListener("mousedown", (event) => event.preventDefault());
document.title = `${study} · RankSRGAN`;
byId("study-name").textContent = study;

const known = recall(memory, null);
if (known === null) reveal("intro");
else await join(known);
