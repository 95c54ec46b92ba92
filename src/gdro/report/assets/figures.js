// Draws panels when they come near the screen, each with a tooltip and a table of its numbers.
"use strict";

const gdro = { views: new Map(), figures: null, problems: [] };

async function loadVega() {
  if (window.vegaEmbed) return;
  const code = new TextDecoder().decode(await inflate(document.getElementById("vega").textContent));
  document.head.append(element("script", {}, code));
}

function rowsOf(columns) {
  const names = Object.keys(columns);
  const count = names.length ? columns[names[0]].length : 0;
  return Array.from({ length: count }, (_, i) => Object.fromEntries(names.map((n) => [n, columns[n][i]])));
}

// Vega hands over the fields of the mark under the pointer; they are shown as text.
function tooltip(handler, event, item, value) {
  const box = document.getElementById("tooltip");
  if (value === null || value === undefined) {
    box.hidden = true;
    return;
  }
  const pairs = typeof value === "object" ? Object.entries(value) : [["", value]];
  box.replaceChildren(
    ...pairs.flatMap(([name, text]) => [element("dt", {}, name), element("dd", {}, text)]),
  );
  box.hidden = false;
  const left = Math.min(event.clientX + 14, window.innerWidth - box.offsetWidth - 6);
  const below = event.clientY + 16 + box.offsetHeight < window.innerHeight;
  box.style.left = `${Math.max(6, left)}px`;
  box.style.top = `${below ? event.clientY + 16 : event.clientY - box.offsetHeight - 12}px`;
}

function fresh(spec, rows) {
  const copy = structuredClone(spec);
  copy.data.find((d) => d.name === "table").values = rows;
  return copy;
}

async function draw(place, spec, rows) {
  const problems = { level: () => problems, error: note, warn: note, info: () => problems, debug: () => problems };
  function note(...words) {
    gdro.problems.push(`${place.dataset.panel}: ${words.join(" ")}`);
    console.error(...words);
    return problems;
  }
  const made = await vegaEmbed(place, fresh(spec, rows), {
    mode: "vega", renderer: "svg", actions: false, defaultStyle: false, hover: true, logger: problems, tooltip,
  });
  gdro.views.set(place, made);
  place.dataset.drawn = "true";
}

function drawPanel(place) {
  if (gdro.views.has(place) || place.dataset.drawn) return Promise.resolve();
  place.dataset.drawn = "soon";
  const { spec, columns } = gdro.figures[Number(place.dataset.panel)];
  return draw(place, spec, rowsOf(columns));
}

function numbersOf(details) {
  if (details.dataset.filled) return;
  details.dataset.filled = "true";
  for (const number of details.dataset.panels.split(" ").filter(Boolean)) {
    const { title, columns, heads } = gdro.figures[Number(number)];
    const names = Object.keys(heads);
    const body = rowsOf(columns).map((row) =>
      element("tr", {}, ...names.map((n) => element("td", {}, row[n] === null ? "" : row[n]))));
    const head = element("tr", {}, ...names.map((n) => element("th", { scope: "col" }, heads[n])));
    details.append(
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Numbers: ${title}` },
        element("table", {}, element("caption", {}, title), element("thead", {}, head),
          element("tbody", {}, ...body))));
  }
}

async function start() {
  const [{ data }] = await Promise.all([unpack("figures"), loadVega()]);
  gdro.figures = data.panels;
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      drawPanel(entry.target);
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll("[data-panel]").forEach((place) => near.observe(place));
  document.querySelectorAll("details[data-panels]").forEach((details) =>
    details.addEventListener("toggle", () => numbersOf(details)));
  if (document.getElementById("prompts")) await startExplorer();
  document.documentElement.dataset.ready = "true";
}

gdro.drawAll = () => Promise.all([...document.querySelectorAll("[data-panel]")].map(drawPanel));
window.gdro = gdro;
window.addEventListener("beforeprint", gdro.drawAll);
window.addEventListener("scroll", () => { document.getElementById("tooltip").hidden = true; }, { passive: true });
