"use strict";
// The text of the page stands without this script: it sorts, filters and draws.
const byId = id => document.getElementById(id);

{ // Light or dark.
  const button = byId("theme");
  button.hidden = false;
  button.addEventListener("click", () => {
    const root = document.documentElement, chosen = root.style.colorScheme;
    const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.style.colorScheme = dark ? "light" : "dark";
    document.dispatchEvent(new Event("themed"));
  });
}

// A cell's number stands in data-value; cells without one sort last in both directions.
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = button.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") === "descending", column = head.cellIndex;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[column].dataset.value;
  body.append(...[...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return up ? order : -order;
  }));
});

// The reader: of each problem the answers of two models, filtered and ordered.
if (byId("answers-list")) {
  const list = byId("answers-list"), problems = [...list.children];
  const answer = (problem, model) => problem.querySelector(`.answer[data-model="${model}"]`);
  const judged = ({dataset}) => dataset.verdict + (dataset.cut ? ", cut at the cap" : "");
  const show = () => {
    const [before, after] = [byId("reader-before").value, byId("reader-after").value];
    const verdict = byId("reader-verdict").value, difficulty = byId("reader-difficulty").value;
    const sign = byId("reader-order").value === "growth" ? -1 : 1;
    const growth = p => answer(p, after).dataset.tokens - answer(p, before).dataset.tokens;
    const shown = problems.filter(p => {
      const [one, two] = [answer(p, before), answer(p, after)];
      return one && two && ["", `${one.dataset.verdict} to ${two.dataset.verdict}`].includes(verdict)
        && ["", p.dataset.difficulty].includes(difficulty);
    }).sort((p, q) => sign * (growth(p) - growth(q)));
    for (const problem of shown) {
      const [one, two] = [answer(problem, before), answer(problem, after)];
      for (const side of problem.querySelectorAll(".answer")) {
        side.hidden = side !== one && side !== two;
        side.querySelector("b").className = side === one ? "before" : "after";
      }
      one.parentNode.prepend(one);
      problem.querySelector(".outcome").textContent =
        `${one.dataset.tokens} → ${two.dataset.tokens} tokens · ${judged(one)} → ${judged(two)}`;
    }
    list.replaceChildren(...shown);
    byId("reader-count").textContent = `${shown.length} of the ${problems.length} problems on this page`;
  };
  const filters = document.querySelector(".filters");
  filters.hidden = false;
  for (const control of filters.querySelectorAll("select")) control.addEventListener("change", show);
  show();
}

// Roles become the theme's colours each time it changes. Of several figures of a kind one is shown at a time; what is
// hidden has no size, and is drawn when it is shown.
if (byId("figures")) {
  const figures = JSON.parse(byId("figures").textContent);
  const roles = ["text", "grid", "before", "after"], narrow = matchMedia("(max-width: 40rem)");
  const draw = () => {
    const probe = document.body.appendChild(document.createElement("i"));
    const colour = role => { probe.style.color = `var(--${role})`; return getComputedStyle(probe).color; };
    const themed = (value, key) => {
      if (Array.isArray(value)) return value.map(item => themed(item, key));
      if (value && typeof value === "object")
        return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, themed(v, k)]));
      return /color$/i.test(key) && roles.includes(value) ? colour(value) : value;
    };
    for (const [id, figure] of Object.entries(figures)) {
      if (byId(id).parentNode.hidden) continue;
      const layout = themed(figure.layout, "layout");
      if (narrow.matches) { // one panel below the other, or two small ones beside each other; the legend below them
        const panels = layout.grid ? Object.keys(layout).filter(key => key.startsWith("yaxis")).length : 1;
        const small = "matches" in (layout.yaxis2 || {}), columns = small ? 2 : 1, rows = Math.ceil(panels / columns);
        if (small) for (const axis of Object.values(layout)) if (axis.automargin) delete axis.title;
        if (panels > 1) layout.grid = {...layout.grid, rows, columns};
        layout.height = 160 + (small ? 150 : 240) * rows;
        layout.margin = {...layout.margin, l: 40, r: 10};
        layout.legend = {orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom"};
      }
      byId(id).style.height = `${layout.height}px`;
      Plotly.react(id, themed(figure.data, "data"), layout, {responsive: true, displaylogo: false});
    }
    probe.remove();
  };
  for (const choice of document.querySelectorAll(".choice")) {
    choice.hidden = false;
    for (const button of choice.children) button.addEventListener("click", () => {
      for (const other of choice.children) {
        other.setAttribute("aria-pressed", String(other === button));
        byId(other.dataset.shows).parentNode.hidden = other !== button;
      }
      draw();
    });
  }
  draw();
  document.addEventListener("themed", draw);
  for (const query of [narrow, matchMedia("(prefers-color-scheme: dark)")]) query.addEventListener("change", draw);
}
