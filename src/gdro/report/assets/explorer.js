// The prompt explorer: search, sort, page through prompts, and look at one.
"use strict";

const explorer = { run: 0, query: "", sort: "rollouts", down: true, page: 0, open: null, size: 25 };
const COLUMNS = [
  ["text", "prompt"], ["visits", "visits"], ["rollouts", "rollouts"], ["successes", "right"],
  ["rate", "pass rate"], ["last", "last pass rate"], ["path", "bins (new, 0 hardest)"],
];

function binName(code) {
  return code === 0 ? "new" : String(code - 1);
}

// The bins of a prompt's visits, repeats left out; long ones keep both ends.
function pathOf(bins) {
  const moves = Array.from(bins).filter((b, i) => i === 0 || b !== bins[i - 1]).map(binName);
  return (moves.length > 9 ? [...moves.slice(0, 3), "…", ...moves.slice(-5)] : moves).join(" → ");
}

function promptsOf({ data, arrays }, run) {
  const column = (name) => arrays[`${run}/${name}`];
  const [prompt, visits, gap] = [column("prompt"), column("visits"), column("step")];
  const [bin, n, right] = [column("bin"), column("n"), column("successes")];
  let start = 0;
  return Array.from(prompt, (index, row) => {
    const [from, to] = [start, start + visits[row]];
    start = to;
    let [rollouts, successes] = [0, 0];
    for (let i = from; i < to; i++) {
      rollouts += n[i];
      successes += right[i];
    }
    return {
      text: data.texts[index] || data.keys[index], key: data.keys[index],
      completion: data.completions[run][index], from, to, rollouts, successes,
      visits: to - from, rate: successes / rollouts, last: right[to - 1] / n[to - 1], bins: bin.subarray(from, to),
      history() {
        let step = 0;
        return Array.from({ length: to - from }, (_, i) => {
          step += gap[from + i];
          return { step, bin: binName(bin[from + i]), n: n[from + i], successes: right[from + i],
                   rate: right[from + i] / n[from + i] };
        });
      },
    };
  });
}

function found() {
  const words = explorer.query.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = explorer.rows.filter((p) => {
    const text = `${p.text} ${p.key}`.toLowerCase();
    return words.every((w) => text.includes(w));
  });
  const by = explorer.sort === "path" ? (p) => p.bins[p.bins.length - 1] : (p) => p[explorer.sort];
  const sign = explorer.down ? -1 : 1;
  return rows.sort((a, b) => sign * (by(a) < by(b) ? -1 : by(a) > by(b) ? 1 : 0));
}

function headOf() {
  return element("tr", {}, ...COLUMNS.map(([name, title]) => {
    const sorted = explorer.sort === name;
    const order = sorted ? (explorer.down ? "descending" : "ascending") : "none";
    const pick = () => {
      Object.assign(explorer, { down: sorted ? !explorer.down : name !== "text", sort: name, page: 0 });
      show(name);
    };
    const mark = sorted ? (explorer.down ? " ▾" : " ▴") : "";
    return element("th", { scope: "col", "aria-sort": order },
      element("button", { type: "button", onclick: pick, "data-sort": name }, title + mark));
  }));
}

function historyOf(p) {
  const rows = p.history();
  const plot = element("div", { class: "view", "data-panel": "history", style: "height:200px" });
  const cells = ["step", "bin", "n", "successes"];
  const heads = ["step", "bin", "rollouts", "right"];
  const table = element("table", {},
    element("thead", {}, element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)))),
    element("tbody", {}, ...rows.map((r) => element("tr", {}, ...cells.map((c) => element("td", {}, r[c]))))));
  const box = element("td", { colspan: String(COLUMNS.length) },
    element("p", { class: "full" }, p.text), element("p", { class: "soft" }, `key ${p.key}`),
    ...(p.completion === undefined ? [] : [element("p", { class: "answer" }, `last answer written down: ${p.completion}`)]),
    plot,
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Visits of this prompt" }, table));
  requestAnimationFrame(() => draw(plot, explorer.spec, rows));
  return element("tr", { class: "history" }, box);
}

function rowsOfPrompt(p) {
  const open = explorer.open === p.key;
  const toggle = () => {
    explorer.open = open ? null : p.key;
    show(null, p.key);
  };
  const cells = [p.visits, p.rollouts, p.successes, p.rate.toFixed(3), p.last.toFixed(3), pathOf(p.bins)];
  const button = element("button", { type: "button", "aria-expanded": String(open), onclick: toggle, "data-key": p.key },
    p.text);
  const row = element("tr", {}, element("td", {}, button), ...cells.map((c) => element("td", {}, c)));
  return open ? [row, historyOf(p)] : [row];
}

// Redraws the table; the button that was used keeps the focus.
function show(sortFocus = null, keyFocus = null) {
  const place = document.getElementById("prompts");
  const rows = found();
  const pages = Math.max(1, Math.ceil(rows.length / explorer.size));
  explorer.page = Math.min(explorer.page, pages - 1);
  const part = rows.slice(explorer.page * explorer.size, (explorer.page + 1) * explorer.size);
  place.querySelector("thead").replaceChildren(headOf());
  place.querySelector("tbody").replaceChildren(...part.flatMap(rowsOfPrompt));
  const left = explorer.data.left_out[explorer.run];
  place.querySelector("[role=status]").textContent =
    `${rows.length.toLocaleString("en")} of ${explorer.rows.length.toLocaleString("en")} prompts, ` +
    `page ${explorer.page + 1} of ${pages}` +
    (left ? `; ${left.toLocaleString("en")} prompts with the fewest rollouts are not in this page` : "");
  place.querySelector("[data-go='-1']").disabled = explorer.page === 0;
  place.querySelector("[data-go='1']").disabled = explorer.page === pages - 1;
  const focus = [...place.querySelectorAll("button")].find((b) =>
    (sortFocus && b.dataset.sort === sortFocus) || (keyFocus && b.dataset.key === keyFocus));
  if (focus) focus.focus();
}

function pick(run) {
  Object.assign(explorer, { run, rows: promptsOf(explorer.packed, run), page: 0 });
  show();
}

async function startExplorer() {
  explorer.packed = await unpack("explorer");
  explorer.data = explorer.packed.data;
  explorer.spec = explorer.data.spec;
  const place = document.getElementById("prompts");
  const select = place.querySelector("select");
  explorer.run = Math.min(explorer.run, explorer.data.runs.length - 1);
  select.replaceChildren(...explorer.data.runs.map((name, i) => element("option", { value: String(i) }, name)));
  select.value = String(explorer.run);
  select.addEventListener("change", () => pick(Number(select.value)));
  const search = place.querySelector("input");
  search.value = explorer.query;
  search.addEventListener("input", () => {
    Object.assign(explorer, { query: search.value, page: 0 });
    show();
  });
  place.querySelectorAll("[data-go]").forEach((b) => b.addEventListener("click", () => {
    explorer.page += Number(b.dataset.go);
    show();
  }));
  pick(explorer.run);
}
