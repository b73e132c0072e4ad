// The comparison page: an image goes to the server, and its results are shown as they come.

import { ask, make, post, recall, remember } from "./api.js";
import { Camera, View, connectZoom } from "./view.js";

const byId = (id) => document.getElementById(id);
const POLL = 300; // milliseconds between two looks at a comparison
const RETRY = 5000; // between two looks at services of which one is down
const USUAL = new Set(["niqe", "psnr", "ssim"]); // ticked at first, with every Ranker

const camera = new Camera();
const stage = new View(byId("stage"), camera);
const tiles = new Map(); // by the key of a result
let services = null; // what the server said of them
let file = null;
let report = null; // of the comparison that is shown
let watching = 0; // counts watches, so that an earlier one ends
let sent = 0; // counts images
let taken = 0; // the number of the one that is shown

// --- Services, and what may be chosen of them -------------------------------------------------

async function askServices() {
  let down;
  try {
    services = await ask("/api/services");
    down = services.services.some((service) => service.error !== null);
    showServices();
    showChoices();
    showLimits();
  } catch (error) {
    down = true;
    byId("services").replaceChildren(make("p", { class: "service down" }, error.message));
  }
  byId("run").disabled = file === null || services === null;
  if (down) setTimeout(askServices, RETRY);
}

function showServices() {
  const lines = services.services.map(({ role, address, error }) =>
    make(
      "p",
      { class: error ? "service down" : "service", title: address },
      make("span", { class: "dot", "aria-hidden": "true" }),
      make("strong", {}, role),
      error ? ` is down: ${error.message}` : " is up",
    ),
  );
  const before = byId("services").textContent;
  const after = make("div", {}, ...lines).textContent;
  if (before !== after) byId("services").replaceChildren(...lines); // else it would be read out again
}

function showChoices() {
  const models = services.services.flatMap((service) => service.models);
  const scorers = services.services.flatMap((service) =>
    service.scorers.map((scorer) => ({ ...scorer, role: service.role })),
  );
  fill("models", models.map((model) => ({
    key: model.name,
    label: model.name,
    usable: model.scale === services.scale,
    ticked: true,
  })), "No service offers models; bicubic interpolation is there always.", `Of another scale than ×${services.scale}: not compared.`);
  fill("scorers", scorers.map((scorer) => ({
    key: scorer.key,
    label: scorer.name,
    usable: !scorer.needs_reference || isOriginal(),
    ticked: scorer.role === "ranker" || USUAL.has(scorer.name),
  })), "No service offers scores.", "Grey ones compare with an original.");
}

// Show check boxes; `none` instead if there are none, and `why` if some cannot be used.
function fill(id, choices, none, why) {
  const kept = recall(`ranksrgan.${id}`, {});
  const boxes = choices.map(({ key, label, usable, ticked }) => {
    const box = make("input", { type: "checkbox", value: key, disabled: !usable });
    box.checked = kept[key] ?? ticked;
    box.addEventListener("change", () => {
      remember(`ranksrgan.${id}`, { ...recall(`ranksrgan.${id}`, {}), [key]: box.checked });
    });
    return make("label", {}, box, ` ${label}`);
  });
  const focused = document.activeElement?.value;
  const note = boxes.length ? (choices.every(({ usable }) => usable) ? null : why) : none;
  byId(id).replaceChildren(...boxes, ...(note === null ? [] : [make("small", {}, note)]));
  if (focused) byId(id).querySelector(`[value="${CSS.escape(focused)}"]`)?.focus();
}

function chosen(id) {
  return [...byId(id).querySelectorAll("input:checked:not(:disabled)")].map((box) => box.value);
}

function isOriginal() {
  return document.querySelector("[name=kind]:checked").value === "original";
}

function mostPixels() {
  return isOriginal() ? services.limits.original_pixels : services.limits.pixels;
}

function showLimits() {
  const mega = (count) => `${(count / 1e6).toFixed(1)} megapixels`;
  const bytes = services.limits.upload_bytes / 2 ** 20;
  byId("limits").textContent =
    `PNG, JPEG, WebP, TIFF or BMP, up to ${mega(mostPixels())} and ${bytes} MiB`;
}

// --- Choosing an image ------------------------------------------------------------------------

async function choose(candidate) {
  say(null);
  if (!candidate) return;
  file = candidate;
  byId("chosen").textContent = candidate.name || "Pasted image";
  byId("run").disabled = services === null;
  if (services !== null) await start();
}

// What is wrong with the file, as far as the browser can tell; null if nothing is.
async function refusal(candidate) {
  const { upload_bytes: most } = services.limits;
  if (candidate.size > most) {
    return `${candidate.name} has ${(candidate.size / 2 ** 20).toFixed(1)} MiB; at most ${most / 2 ** 20} MiB are taken.`;
  }
  if (candidate.size === 0) return `${candidate.name} is empty.`;
  const url = URL.createObjectURL(candidate);
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const pixels = image.naturalWidth * image.naturalHeight;
    if (pixels > mostPixels()) {
      return `${candidate.name} is ${image.naturalWidth} × ${image.naturalHeight} pixels; at most ${mostPixels().toLocaleString("en")} pixels are taken${isOriginal() ? "" : ", since it is enlarged"}.`;
    }
  } catch {
    // No browser shows TIFF, for one; the server looks at it.
  } finally {
    URL.revokeObjectURL(url);
  }
  return null;
}

// --- A comparison -----------------------------------------------------------------------------

async function start() {
  say(null);
  try {
    const problem = await refusal(file);
    if (problem !== null) {
      say(problem);
      return;
    }
    tell(0, 1, "Sending the image …");
    const query = new URLSearchParams({ name: file.name || "pasted.png" });
    if (isOriginal()) query.set("original", "1");
    for (const model of chosen("models")) query.append("model", model);
    for (const scorer of chosen("scorers")) query.append("scorer", scorer);
    const number = ++sent;
    const begun = await ask(`/api/comparisons?${query}`, {
      method: "POST",
      headers: { "Content-Type": "application/octet-stream" },
      body: file,
    });
    if (number < taken) { // a later image was faster
      await post(`/api/comparisons/${begun.id}/cancel`);
      return;
    }
    taken = number;
    if (report !== null && report.busy) post(`/api/comparisons/${report.id}/cancel`).catch(() => {});
    report = begun;
    prepare();
    follow();
  } catch (error) {
    // What is shown stays, and goes on.
    if (report === null) byId("progress").hidden = true;
    else show();
    say(error.message);
  }
}

async function follow() {
  const watch = ++watching;
  let lost = false;
  while (watch === watching) {
    show();
    if (!report.busy) break;
    await new Promise((resolve) => setTimeout(resolve, POLL));
    try {
      const now = await ask(`/api/comparisons/${report.id}`);
      if (watch !== watching) return;
      report = now;
      if (lost) say(null);
      lost = false;
    } catch (error) {
      if (watch !== watching) return;
      say(error.message);
      lost = true;
      if (error.code === "UNKNOWN_NAME") break;
      await new Promise((resolve) => setTimeout(resolve, RETRY));
    }
  }
}

async function change(what) {
  say(null);
  try {
    const now = await post(`/api/comparisons/${report.id}/${what}`);
    if (now.id !== report.id) return; // another image came meanwhile
    report = now;
    follow();
    if (what === "retry") askServices();
  } catch (error) {
    say(error.message);
  }
}

// --- Showing it -------------------------------------------------------------------------------

const INPUT = "input";

function imageUrl(key) {
  return `/api/comparisons/${report.id}/images/${encodeURIComponent(key)}`;
}

function pictures() {
  const input = { key: INPUT, label: "Low resolution", state: "done", scores: {} };
  return [input, ...report.results];
}

function prepare() {
  camera.fit();
  stage.clear();
  for (const { view } of tiles.values()) view.dispose();
  tiles.clear();
  byId("tiles").replaceChildren(...pictures().map(makeTile));
  const options = () => pictures().map(({ key, label }) => make("option", { value: key, disabled: true }, label));
  byId("left").replaceChildren(...options());
  byId("right").replaceChildren(...options());
  byId("left").value = INPUT;
  byId("right").value = "bicubic";
  sides.chosen = false;
  byId("outcome").hidden = false;
}

function makeTile({ key, label }) {
  const frame = make("div", { class: "frame", tabindex: "0", role: "group", "aria-label": `${label}, moves with the others` });
  const layer = make("div", { class: "layer" });
  frame.append(layer);
  const state = make("p", { class: "state" });
  const download = make("a", { class: "button", hidden: true, download: true }, "Download");
  const put = (side) =>
    make("button", {
      type: "button", hidden: true, "aria-label": `Show ${label} on the ${side}`,
      onclick: () => choosePicture(side, key),
    }, side === "left" ? "◧ Left" : "Right ◨");
  const buttons = [put("left"), put("right"), download];
  tiles.set(key, { view: new View(frame, camera), layer, state, download, buttons, shown: false });
  return make("figure", { class: "tile" }, frame,
    make("figcaption", {}, make("div", {}, make("strong", {}, label), state), make("div", { class: "tile-actions" }, ...buttons)));
}

function show() {
  const { ended, total, busy } = report;
  const failed = pieces().filter(({ piece }) => piece.state === "failed");
  const cancelled = pieces().some(({ piece }) => piece.state === "cancelled");
  const running = pieces().find(({ piece }) => piece.state === "running");
  let text = "All done.";
  if (busy) text = running ? `${running.doing} …` : "Waiting for its turn …";
  else if (failed.length) text = `Done; ${failed.length} of ${total} failed.`;
  else if (cancelled) text = "Cancelled.";
  tell(ended, total, text);
  byId("cancel").hidden = !busy;
  byId("retry").hidden = busy || !(failed.length || cancelled);
  byId("outcome").setAttribute("aria-busy", busy);
  for (const picture of pictures()) showTile(picture);
  showSides();
  showScores();
}

function pieces() {
  return report.results.flatMap((result) => [
    { piece: result, doing: `Making ${result.label}`, name: result.label },
    ...report.judges.filter(({ key }) => key in result.scores).map((judge) => ({
      piece: result.scores[judge.key],
      doing: `Scoring ${result.label} with ${judge.name}`,
      name: `${judge.name} of ${result.label}`,
    })),
  ]);
}

function showTile(picture) {
  const tile = tiles.get(picture.key);
  const words = { waiting: "Waiting", running: "Being made …", cancelled: "Cancelled" };
  const size = picture.key === INPUT ? [report.width, report.height] : fullSize();
  const time = picture.seconds >= 0.05 ? `, ${picture.seconds.toFixed(1)} s` : "";
  let text = words[picture.state] ?? `${size[0]} × ${size[1]}${time}`;
  if (picture.state === "failed") text = picture.error.message;
  if (tile.state.textContent !== text) tile.state.textContent = text;
  tile.state.classList.toggle("failed", picture.state === "failed");
  if (picture.state !== "done" || tile.shown) return;
  tile.shown = true;
  tile.download.href = `${imageUrl(picture.key)}?download`;
  tile.download.setAttribute("aria-label", `Download ${picture.label}`);
  for (const button of tile.buttons) button.hidden = false;
  for (const side of ["left", "right"]) {
    byId(side).querySelector(`[value="${CSS.escape(picture.key)}"]`).disabled = false;
  }
  tile.view.show(tile.layer, imageUrl(picture.key), picture.label, ...fullSize()).catch(() => {
    tile.state.textContent = "The browser could not show it.";
  });
}

function fullSize() {
  return [report.width * report.scale, report.height * report.scale];
}

// Which results are behind the slider, and which it has loaded. Until somebody chooses, the last
// one that is there stands on the right.
const sides = { chosen: false, left: null, right: null };

function choosePicture(side, key) {
  sides.chosen = true;
  byId(side).value = key;
  showSides();
  byId("stage").scrollIntoView({ block: "nearest" });
}

function showSides() {
  const there = pictures().filter(({ state, key }) => state === "done" && key !== "original");
  if (!sides.chosen) {
    byId("right").value = there.at(-1).key;
    if (there.length > 2) byId("left").value = "bicubic";
  }
  for (const side of ["left", "right"]) {
    const picture = pictures().find(({ key }) => key === byId(side).value);
    const loaded = `${report.id} ${picture.key}`;
    if (picture.state !== "done" || sides[side] === loaded) continue;
    sides[side] = loaded;
    byId(`tag-${side}`).textContent = picture.label;
    slide(Number(byId("slider").value)); // whose words name the left one
    stage.show(byId(`stage-${side}`), imageUrl(picture.key), `${side}: ${picture.label}`, ...fullSize()).catch(() => {
      sides[side] = null;
    });
  }
}

function slide(percent) {
  const at = Math.min(100, Math.max(0, percent));
  byId("slider").value = at;
  byId("slider").setAttribute("aria-valuetext", `${Math.round(at)} % ${byId("tag-left").textContent}`);
  byId("stage").style.setProperty("--at", `${at}%`);
}

function showScores() {
  const { judges } = report;
  if (!judges.length) {
    byId("scores").replaceChildren(make("caption", {}, "No score was chosen."));
    byId("errors").replaceChildren();
    return;
  }
  const best = new Map(judges.map((judge) => [judge.key, bestOf(judge)]));
  const head = make("tr", {}, make("th", { scope: "col" }, "Result"),
    ...judges.map((judge) => make("th", { scope: "col" }, judge.name,
      make("small", {}, judge.higher_is_better ? " ↑ higher is better" : " ↓ lower is better"))));
  const rows = report.results.map((result) => make("tr", {},
    make("th", { scope: "row" }, result.label),
    ...judges.map((judge) => scoreCell(result.scores[judge.key], best.get(judge.key)))));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  if (table.innerHTML !== byId("scores").innerHTML) byId("scores").replaceChildren(...table.children);
  const messages = pieces().filter(({ piece }) => piece.error !== null && piece.error !== undefined);
  byId("errors").replaceChildren(...messages.map(({ name, piece }) =>
    make("li", {}, make("strong", {}, `${name}: `), piece.error.message)));
}

function bestOf(judge) {
  const values = report.results
    .filter(({ key }) => key !== "original")
    .map(({ scores }) => scores[judge.key]?.value)
    .filter((value) => typeof value === "number");
  if (values.length < 2) return null;
  return judge.higher_is_better ? Math.max(...values) : Math.min(...values);
}

function scoreCell(piece, best) {
  if (piece === undefined) return make("td", {}, make("span", { class: "quiet", title: "An original is not compared with itself" }, "–"));
  if (piece.state === "done") {
    const text = typeof piece.value === "number" ? piece.value.toFixed(digits(piece.value)) : piece.value;
    return piece.value === best
      ? make("td", { class: "best" }, text, make("span", { class: "unseen" }, " (best)"))
      : make("td", {}, text);
  }
  const words = { waiting: "…", running: "…", cancelled: "–", failed: "failed" };
  return make("td", { class: piece.state === "failed" ? "failed" : "quiet", title: piece.error?.message ?? null }, words[piece.state]);
}

function digits(value) {
  if (Math.abs(value) >= 100) return 1;
  return Math.abs(value) >= 1 ? 3 : 4;
}

// --- Messages ---------------------------------------------------------------------------------

function say(problem) {
  byId("problem").hidden = problem === null;
  if (problem !== null && byId("problem").textContent !== problem) byId("problem").textContent = problem;
}

function tell(ended, total, text) {
  byId("progress").hidden = false;
  byId("bar").max = total;
  byId("bar").value = ended;
  if (byId("progress-text").textContent !== text) byId("progress-text").textContent = text;
}

// --- What people do ---------------------------------------------------------------------------

byId("setup").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
byId("file").addEventListener("change", (event) => choose(event.target.files[0]));
for (const radio of document.querySelectorAll("[name=kind]")) {
  radio.addEventListener("change", () => {
    if (services === null) return;
    showChoices();
    showLimits();
  });
}
byId("cancel").addEventListener("click", () => change("cancel"));
byId("retry").addEventListener("click", () => change("retry"));
for (const side of ["left", "right"]) {
  byId(side).addEventListener("change", (event) => choosePicture(side, event.target.value));
}
byId("swap").addEventListener("click", () => {
  const [left, right] = [byId("left").value, byId("right").value];
  choosePicture("left", right);
  choosePicture("right", left);
});
byId("slider").addEventListener("input", (event) => slide(Number(event.target.value)));
byId("divider").addEventListener("pointerdown", (event) => {
  event.stopPropagation(); // the image behind it stays where it is
  event.preventDefault();
  byId("divider").setPointerCapture(event.pointerId);
});
byId("divider").addEventListener("pointermove", (event) => {
  if (!byId("divider").hasPointerCapture(event.pointerId)) return;
  const box = byId("stage").getBoundingClientRect();
  slide((100 * (event.clientX - box.left)) / box.width);
});

let dragged = 0; // how many elements the file is over
addEventListener("dragenter", (event) => {
  if (event.dataTransfer?.types.includes("Files")) byId("veil").hidden = ++dragged === 0;
});
addEventListener("dragleave", () => {
  byId("veil").hidden = (dragged = Math.max(0, dragged - 1)) === 0;
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragged = 0;
  byId("veil").hidden = true;
  choose(event.dataTransfer?.files[0]);
});
addEventListener("paste", (event) => {
  const [pasted] = event.clipboardData?.files ?? [];
  if (pasted) choose(pasted);
});

connectZoom(byId("zoom"), stage);
slide(50);
askServices();
