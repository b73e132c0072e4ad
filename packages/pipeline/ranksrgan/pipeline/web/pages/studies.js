// The list of studies.

import { ask, make } from "./api.js";

const list = document.getElementById("studies");
try {
  const studies = await ask("/api/studies");
  list.replaceChildren(...studies.map(card));
  if (!studies.length) list.before(make("p", { class: "message" }, "No study is open on this server. Its operator adds one with --study NAME=FOLDER."));
} catch (error) {
  const problem = document.getElementById("problem");
  problem.textContent = error.message;
  problem.hidden = false;
}
list.setAttribute("aria-busy", "false");

function card({ name, contents, pairs, votes, raters }) {
  const address = `/study/${encodeURIComponent(name)}`;
  const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  return make("li", { class: "card" },
    make("h2", {}, name),
    make("p", { class: "quiet" }, `${count(contents, "image")}, ${count(pairs, "pair")}; ${count(votes, "vote")} of ${count(raters, "person").replace("persons", "people")} so far`),
    make("p", { class: "actions" },
      make("a", { class: "button primary", href: address, "aria-label": `Vote in ${name}` }, "Vote"),
      make("a", { class: "button", href: `${address}/results`, "aria-label": `Results of ${name}` }, "Results")));
}
