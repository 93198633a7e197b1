// Glue: plotly draws the charts, and tables are sorted and filtered.
const WAYS = { responsive: true, displaylogo: false };
const narrow = () => window.innerWidth < 600;
function draw(id, chart) {
  const place = document.getElementById(id);
  if (!place || !chart) return;
  const margin = { l: 40, r: 10, t: 40, b: 50 };
  const font = { size: narrow() ? 10 : 12 };
  Plotly.react(place, chart.data, { margin, font, paper_bgcolor: "#fff", plot_bgcolor: "#fff", ...chart.layout }, WAYS);
}
draw("map", DATA.map);

// Charts further down are drawn when one gets near them, or prints: a page of hundreds of layers opens at once.
const later = ["gaps", "widths", "seconds"].filter((id) => document.getElementById(id));
const near = new IntersectionObserver((seen) => {
  for (const { target } of seen.filter((one) => one.isIntersecting)) {
    near.unobserve(target);
    draw(target.id, DATA[target.id]);
  }
}, { rootMargin: "600px" });
for (const id of later) near.observe(document.getElementById(id));
window.addEventListener("beforeprint", () => { for (const id of later) draw(id, DATA[id]); });

const layer = document.getElementById("layer");
if (layer) {
  const show = () => draw("curves", DATA.curves[layer.value]);
  layer.addEventListener("change", show);
  show();
  const map = document.getElementById("map");
  map.on("plotly_click", (event) => {
    const name = DATA.names[event.points[0].pointNumber[0]];
    if (name in DATA.curves) { layer.value = name; show(); }
  });
}

const rows = [...document.querySelectorAll("#pairs tbody tr")];
function filter() {
  const text = document.getElementById("filter").value.toLowerCase();
  const verdict = document.getElementById("verdict").value, bits = document.getElementById("bits").value;
  let shown = 0;
  for (const row of rows) {
    const fits = row.dataset.layer.toLowerCase().includes(text) && (!verdict || row.dataset.verdict === verdict)
      && (!bits || row.dataset.bits === bits);
    row.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent = `${shown} of ${rows.length}`;
}
if (rows.length) {
  for (const id of ["filter", "verdict", "bits"]) document.getElementById(id).addEventListener("input", filter);
  filter();
}

const number = (text) => (text.trim() === "-" ? -Infinity : Number(text));
for (const head of document.querySelectorAll(".sorts thead th")) {
  head.setAttribute("aria-sort", "none");
  head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending", body = head.closest("table").tBodies[0];
    for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const cell = (row) => row.cells[head.cellIndex].textContent;
    const numeric = [...body.rows].every((row) => !Number.isNaN(number(cell(row))));
    const order = (a, b) => (numeric ? number(cell(a)) - number(cell(b)) || 0 : cell(a).localeCompare(cell(b), "en", { numeric: true }));
    body.append(...[...body.rows].sort((a, b) => (down ? -order(a, b) : order(a, b))));
  });
}
