// While training writes: ask for the log's stamp, and take over the new page when it has changed.
"use strict";

async function follow() {
  const status = () => document.getElementById("live");
  const seconds = Number(status().dataset.seconds);
  let stamp = status().dataset.stamp;
  for (;;) {
    await new Promise((done) => setTimeout(done, 1000 * seconds));
    try {
      const now = await (await fetch("stamp", { cache: "no-store" })).text();
      if (now === stamp) continue;
      const text = await (await fetch(".", { cache: "no-store" })).text();
      stamp = now;
      await takeOver(new DOMParser().parseFromString(text, "text/html"));
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      status().textContent = "no answer: training may go on, but the server has stopped";
    }
  }
}

// The new page's contents in the place of the old ones; heights are fixed, so nothing jumps.
async function takeOver(page) {
  gdro.views.forEach((view) => view.finalize());
  gdro.views.clear();
  for (const id of ["figures", "explorer"]) {
    const [old, next] = [document.getElementById(id), page.getElementById(id)];
    if (old && next) old.textContent = next.textContent;
    else if (next) document.body.append(document.importNode(next, true));
  }
  const open = [...document.querySelectorAll("details[open]")].map((d) => d.dataset.panels);
  const searching = document.activeElement && document.activeElement.id === "search";
  document.querySelector("main").replaceWith(document.importNode(page.querySelector("main"), true));
  await start();
  document.querySelectorAll("details").forEach((d) => { d.open = open.includes(d.dataset.panels); });
  if (searching) document.getElementById("search").focus();
}
