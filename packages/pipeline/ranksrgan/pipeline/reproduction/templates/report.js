// What a page of findings does with JavaScript: read-out of charts, zoom and slider, sorting.
// Follows view.js in one module: Camera, View and connectZoom are its.

const byId = (id) => document.getElementById(id);

document.documentElement.classList.add("scripted");
for (const chart of document.querySelectorAll(".lines")) readOut(chart);
if (byId("compare")) comparePictures();
if (byId("rows")) sortRows(byId("rows"));

// --- Charts: the values at the step that is pointed at, in the legend ---------------------------

function readOut(chart) {
  const legend = chart.parentElement.querySelector(".legend");
  const reads = [...legend.querySelectorAll(".read")];
  const told = legend.querySelector(".at");
  const cursor = chart.querySelector(".cursor");
  const atRest = { told: told.textContent, reads: reads.map((read) => read.textContent) };
  const names = [...legend.querySelectorAll("tbody th")];
  // Lines are drawn in another order than the legend's.
  const lines = names.map((name) =>
    [...chart.querySelectorAll("[data-line]")].find((line) => name.dataset.line === line.dataset.line),
  );
  const dots = lines.map((line) => [...line.querySelectorAll("circle")]);
  const places = new Map(dots.flat().map((dot) => [Number(dot.dataset.step), Number(dot.getAttribute("cx"))]));
  const steps = [...places.keys()].sort((a, b) => a - b);
  let chosen = null;

  function choose(step) {
    chosen = step;
    cursor.setAttribute("visibility", step === null ? "hidden" : "visible");
    if (step !== null) cursor.setAttribute("transform", `translate(${places.get(step)} 0)`);
    told.textContent = step === null ? atRest.told : `step ${step.toLocaleString("en")}`;
    for (const [i, line] of dots.entries()) {
      for (const dot of line) dot.classList.toggle("at", Number(dot.dataset.step) === step);
      const there = line.find((dot) => Number(dot.dataset.step) === step);
      reads[i].textContent = step === null ? atRest.reads[i] : (there?.dataset.read ?? "–");
    }
  }

  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * chart.viewBox.baseVal.width;
    const distance = (step) => Math.abs(places.get(step) - across);
    choose(steps.reduce((best, step) => (distance(step) < distance(best) ? step : best)));
  });
  chart.addEventListener("pointerleave", () => choose(null));
  chart.addEventListener("blur", () => choose(null));
  chart.tabIndex = 0;
  told.setAttribute("aria-live", "polite");
  chart.addEventListener("keydown", (event) => {
    const at = chosen === null ? steps.length : steps.indexOf(chosen);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (event.key === "Escape") choose(null);
    if (to === undefined) return;
    event.preventDefault();
    choose(steps[Math.min(steps.length - 1, Math.max(0, to))]);
  });
}

// --- Pictures: one camera for all of them, and two behind a slider --------------------------------

function comparePictures() {
  const camera = new Camera();
  const sizeOf = (image) => [Number(image.getAttribute("width")), Number(image.getAttribute("height"))];
  const rows = [...document.querySelectorAll(".row")].map((row) => ({
    name: row.dataset.name,
    tiles: [...row.querySelectorAll(".tile")].map((tile) => ({
      title: tile.querySelector("b").textContent,
      image: tile.querySelector("img"),
      frame: tile.querySelector(".frame"),
    })),
  }));
  for (const { tiles } of rows) {
    for (const { image, frame, title } of tiles) {
      const layer = document.createElement("div");
      layer.className = "layer";
      frame.append(layer);
      frame.tabIndex = 0;
      frame.setAttribute("role", "group");
      frame.setAttribute("aria-label", title);
      new View(frame, camera).show(layer, image.src, image.alt, ...sizeOf(image));
    }
  }

  const stage = new View(byId("stage"), camera);
  connectZoom(byId("zoom"), stage);
  const fill = (select, names) => select.replaceChildren(...names.map((name, i) => new Option(name, i)));
  const shown = () => rows[byId("which").value];

  function show(side) {
    const { title, image } = shown().tiles[byId(side).value];
    stage.show(byId(`layer-${side}`), image.src, title, ...sizeOf(image));
    tellSlider();
  }

  function chooseRow() {
    const before = ["left", "right"].map((side) => byId(side).selectedOptions[0]?.text);
    const titles = shown().tiles.map((tile) => tile.title);
    for (const [i, side] of ["left", "right"].entries()) {
      fill(byId(side), titles);
      const usual = i === 0 ? Math.max(0, titles.length - 2) : titles.length - 1;
      const same = titles.indexOf(before[i]);
      byId(side).value = same < 0 ? usual : same;
      show(side);
    }
  }

  function tellSlider() {
    const at = byId("slider").value;
    byId("stage").style.setProperty("--at", `${at}%`);
    byId("slider").setAttribute("aria-valuetext", `${at} % ${byId("left").selectedOptions[0]?.text}`);
  }

  fill(byId("which"), rows.map((row) => row.name));
  byId("which").addEventListener("change", chooseRow);
  for (const side of ["left", "right"]) byId(side).addEventListener("change", () => show(side));
  byId("slider").addEventListener("input", tellSlider);
  byId("divider").addEventListener("pointerdown", (event) => {
    event.stopPropagation(); // else the picture moves
    byId("divider").setPointerCapture(event.pointerId);
  });
  byId("divider").addEventListener("pointermove", (event) => {
    if (!byId("divider").hasPointerCapture(event.pointerId)) return;
    event.stopPropagation();
    const box = byId("stage").getBoundingClientRect();
    byId("slider").value = Math.round(((event.clientX - box.left) / box.width) * 100);
    tellSlider();
  });
  chooseRow();
}

// --- The table of images ---------------------------------------------------------------------------

function sortRows(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const collator = new Intl.Collator("en", { numeric: true });

  function sort(column) {
    const head = heads[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => {
      const cell = row.cells[column];
      if (cell.classList.contains("key")) return cell.textContent;
      return "value" in cell.dataset ? Number(cell.dataset.value) : null;
    };
    const compare = (a, b) => (typeof a === "number" ? a - b : collator.compare(a, b));
    rows
      .map((row) => [row, key(row)])
      .sort(([, a], [, b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // nothing comes last
        return down ? compare(b, a) : compare(a, b);
      })
      .forEach(([row]) => body.append(row));
  }

  for (const [column, head] of heads.entries()) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(column));
    head.append(button);
  }
  byId("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = [...row.querySelectorAll(".key")].map((cell) => cell.textContent.toLowerCase()).join(" ");
      row.hidden = !words.every((word) => text.includes(word));
    }
    const left = rows.filter((row) => !row.hidden).length;
    byId("shown").textContent = left === rows.length ? `${left} rows` : `${left} of ${rows.length} rows`;
  });
}
