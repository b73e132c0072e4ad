// Live ratings of a study's methods.

import { ask, make } from "./api.js";

const byId = (id) => document.getElementById(id);
const POLL = 3000;
const study = decodeURIComponent(location.pathname.split("/")[2]);
const SVG = "http://www.w3.org/2000/svg";

byId("study-name").textContent = `Results of ${study}`;
document.title = `${study}: results · RankSRGAN`;
byId("csv").href = `/api/studies/${encodeURIComponent(study)}/votes.csv`;
byId("vote").href = `/study/${encodeURIComponent(study)}`;

let shown = "";

async function follow() {
  try {
    const results = await ask(`/api/studies/${encodeURIComponent(study)}/results`);
    byId("problem").hidden = true;
    if (JSON.stringify(results) !== shown) show(results);
    shown = JSON.stringify(results);
  } catch (error) {
    byId("problem").textContent = error.message;
    byId("problem").hidden = false;
    if (error.code === "UNKNOWN_NAME") return;
  }
  setTimeout(follow, document.hidden ? 5 * POLL : POLL);
}

function show({ standings, votes, raters, pairs }) {
  byId("summary").textContent = `${votes} vote${votes === 1 ? "" : "s"} of ${raters} ${raters === 1 ? "person" : "people"}; each can give ${pairs}.`;
  const ends = standings.flatMap(({ lowest, highest }) => (lowest === null ? [] : [lowest, highest]));
  const range = [Math.min(...ends), Math.max(...ends)];
  byId("standings").replaceChildren(...standings.map((standing) => row(standing, range)));
  if (!standings.length) byId("standings").append(make("tr", {}, make("td", { colspan: 7, class: "quiet" }, "No vote yet.")));
}

function row({ method, elo, strength, lowest, highest, wins, ties, losses }, range) {
  const interval = lowest === null ? "–" : `${Math.round(strength)} (${Math.round(lowest)} to ${Math.round(highest)})`;
  return make("tr", {},
    make("th", { scope: "row" }, method),
    make("td", {}, elo.toFixed(0)),
    make("td", {}, interval),
    make("td", { "aria-hidden": "true" }, make("div", { class: "interval" }, ...(lowest === null ? [] : [plot(strength, lowest, highest, range)]))),
    ...[wins, ties, losses].map((count) => make("td", {}, String(count))));
}

function plot(strength, lowest, highest, [least, most]) {
  const at = (rating) => `${4 + (92 * (rating - least)) / Math.max(1, most - least)}%`;
  const element = (tag, attributes) => {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const svg = element("svg", { focusable: "false" });
  const width = `${(92 * (highest - lowest)) / Math.max(1, most - least)}%`;
  svg.append(
    element("line", { x1: "2%", x2: "98%", y1: 8, y2: 8 }),
    element("rect", { x: at(lowest), width, y: 4, height: 8, rx: 3 }),
    element("circle", { cx: at(strength), cy: 8, r: 4.5 }),
  );
  return svg;
}

follow();
