// Glue: tables are sorted, filtered and shown a part at a time; plotly draws the charts.
const ROWS = 200;
const all = (choice, from = document) => [...from.querySelectorAll(choice)];
const cell = ({ words, values, digits }, row) => {
  const value = values[row];
  return words ? words[value] : value === null ? "-" : value.toFixed(digits);
};

const filters = {};
for (const asked of all("[data-table]")) (filters[asked.dataset.table] ??= []).push(asked);

// A long table: its columns are in DATA, and only lines that are looked at are made.
function table(id) {
  const place = document.getElementById(id), columns = DATA.tables[id];
  if (!place) return;
  const body = place.tBodies[0], more = document.querySelector(`[data-more="${id}"]`), count = columns[0].values.length;
  const sorted = [...Array(count).keys()];
  let found = [], shown = 0;
  const add = (last) => {
    for (; shown < Math.min(last, found.length); shown++) {
      const line = body.insertRow();
      for (const column of columns) {
        const spot = line.insertCell(), text = cell(column, found[shown]);
        if (column.links) {
          const link = spot.appendChild(document.createElement("a"));
          [link.href, link.textContent] = [column.links[found[shown]], text];
        } else spot.textContent = text;
      }
    }
    more.hidden = shown === found.length;
    more.textContent = `${found.length - shown} more`;
  };
  const show = () => {
    const asked = (filters[id] ?? []).map((one) => [columns[one.dataset.column], one.value.toLowerCase(), one.type === "search"]);
    const fits = (row) => asked.every(([column, text, part]) => {
      const words = text && cell(column, row).toLowerCase();
      return !text || (part ? words.includes(text) : words === text);
    });
    found = sorted.filter(fits);
    body.replaceChildren();
    shown = 0;
    add(ROWS);
    document.querySelector(`[data-count="${id}"]`).textContent = `${found.length} of ${count}`;
  };
  for (const one of filters[id] ?? []) one.addEventListener("input", show);
  more.addEventListener("click", () => add(shown + 5 * ROWS));
  window.addEventListener("beforeprint", () => add(found.length));
  all("th", place.tHead).forEach((head, number) => sorts(head, (down) => {
    const { values, words } = columns[number];
    const order = words ? (a, b) => compare(words[values[a]], words[values[b]]) : (a, b) => (values[a] ?? -Infinity) - (values[b] ?? -Infinity) || 0;
    sorted.sort((a, b) => (down ? -order(a, b) : order(a, b)));
    show();
  }));
  show();
}
const { compare } = new Intl.Collator("en", { numeric: true });

// What is sorted when the head of a column is chosen: upwards, then downwards.
function sorts(head, sort) {
  head.setAttribute("aria-sort", "none");
  head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentNode.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    sort(down);
  });
}
for (const id of Object.keys(DATA.tables)) table(id);

// Tables that are there as a whole.
const number = (text) => (text.trim() === "-" ? -Infinity : Number(text));
for (const head of all(".sorts thead th")) {
  sorts(head, (down) => {
    const body = head.closest("table").tBodies[0], text = (row) => row.cells[head.cellIndex].textContent;
    const numeric = [...body.rows].every((row) => !Number.isNaN(number(text(row))));
    const order = (a, b) => (numeric ? number(text(a)) - number(text(b)) || 0 : compare(text(a), text(b)));
    body.append(...[...body.rows].sort((a, b) => (down ? -order(a, b) : order(a, b))));
  });
}

// Below a heading of bits there may be more than a number.
const wide = (bits) => (/^\d+$/.test(bits) ? `${bits} bits` : bits);

// The map: what is known of a cell, and its layer below.
const map = document.getElementById("map"), layer = document.getElementById("layer");
if (map) {
  const say = (row) => {
    const [name, bits, sparsity, verdict, margin, known, ...sides] = DATA.tables.pairs.map((column) => cell(column, row));
    if (verdict === "skipped") return `${name}, ${wide(bits)}: skipped, ${sides.at(-1)}`;
    const side = (from) => `${sides[from]} to ${sides[from + 1]} dB, ${sides[from + 2]}`;
    return `${name}, ${wide(bits)} against ${sparsity} % sparsity: ${verdict}, margin ${margin} dB; best weights known: quantization ahead by `
      + `${known} dB; quantization ${side(0)}; pruning ${side(3)}`
      + (sides[6] !== "-" ? `; modelled, no bound: quantization about ${sides[6]} dB` : "");
  };
  const chosen = (event) => event.target.closest("[data-at]");
  map.addEventListener("mouseover", (event) => { const one = chosen(event); if (one) one.title = say(one.dataset.at); });
  map.tBodies[0].addEventListener("click", (event) => {
    const one = chosen(event), name = event.target.closest("tr").cells[0].textContent;
    if (one) document.getElementById("said").textContent = say(one.dataset.at);
    if (layer && all("option", layer).some((option) => option.value === name)) {
      layer.value = name;
      layer.dispatchEvent(new Event("change"));
    }
  });
  const find = document.getElementById("find");
  find.addEventListener("input", () => {
    for (const line of map.tBodies[0].rows) line.hidden = !line.cells[0].textContent.toLowerCase().includes(find.value.toLowerCase());
  });
}

// Charts are drawn when one gets near them, or prints, and plotly is read with the first: a page opens at once.
function begin() {
  const inside = document.getElementById("plotly");
  if (!inside || window.Plotly) return;
  const script = document.createElement("script");
  script.textContent = inside.textContent;
  document.head.append(script);
}
function charts() {
  const boxes = ({ data, layout }) => {
    const [names, bits, method, least] = DATA.tables.distances, words = names.words.map((name) => new Option(name).innerHTML);
    const found = data.map((box) => ({ ...box, x: [], text: [] }));
    least.values.forEach((db, row) => {
      const box = found[method.values[row]];
      box.x.push(db);
      box.text.push(`${words[names.values[row]]}, ${wide(cell(bits, row))}`);
    });
    return { data: found, layout };
  };
  const narrow = () => window.innerWidth < 600;
  const lines = ({ styles, layers, layout }) => {
    const data = layers[layer.value].map(([style, x, y]) => ({ ...styles[style], x, y }));
    return { data, layout: { ...layout, height: 400 + (narrow() ? 24 : 6) * data.length } };  // with room for the legend
  };
  const of = (id) => (id === "curves" ? lines(DATA.curves) : id === "gaps" ? boxes(DATA.charts.gaps) : DATA.charts[id]);
  const draw = (id) => {
    begin();
    const place = document.getElementById(id), { data, layout } = of(id);
    const font = { size: narrow() ? 10 : 12 }, white = { paper_bgcolor: "#fff", plot_bgcolor: "#fff" };
    Plotly.react(place, data, { margin: { l: 40, r: 10, t: 40, b: 50 }, font, ...white, ...layout }, { responsive: true, displaylogo: false });
  };
  const later = all(".chart").map((place) => place.id).filter((id) => id !== "curves" || layer.value);
  const near = new IntersectionObserver((seen) => {
    for (const { target } of seen.filter((one) => one.isIntersecting)) {
      near.unobserve(target);
      draw(target.id);
    }
  }, { rootMargin: "600px" });
  for (const id of later) near.observe(document.getElementById(id));
  window.addEventListener("beforeprint", () => later.forEach(draw));
  layer?.addEventListener("change", () => draw("curves"));
}
window.addEventListener("load", charts);
