// The laboratory: an input, drawn or chosen, and every row's maps of it, computed here; a place in a map is explained.

const lab = { rows: [], input: null, outputs: [], strips: [], at: null, held: false, ink: null };
const PEN = { side: 280, radius: 11 };

function startLab() {
  if (!page.live || !document.getElementById("lab")) return;
  lab.rows = openNet(page.live);
  makeStrips();
  makeSamples();
  if (page.live.whole) {
    startDrawing();
    makeSpecials();
  }
  if (page.live.samples.length) choose(0);
  else setInput(blank());
}

function blank() {
  const size = page.live.size;
  return preprocess(new Float32Array(size * size), size, size, 1, page.live.preprocess);
}

function setInput(input) {
  lab.input = input;
  lab.outputs = forward(lab.rows, input);
  if (!lab.at) lab.at = firstPlace();
  render();
}

// Where to look first: the strongest pixel of the second convolution, or of the first, away from the edges.
function firstPlace() {
  const convolutions = lab.rows.flatMap((row, i) => (row.kind.endsWith("Conv2D") ? [i] : []));
  const row = convolutions[Math.min(1, convolutions.length - 1)];
  const { data, shape } = lab.outputs[row];
  let best = null;
  const place = (i) => ({ row, map: i % shape[2], y: Math.floor(i / shape[2] / shape[1]), x: Math.floor(i / shape[2]) % shape[1] });
  const central = ({ y, x }) => Math.abs(y / shape[0] - 0.5) < 0.3 && Math.abs(x / shape[1] - 0.5) < 0.3;
  data.forEach((value, i) => {
    if ((best === null || value > data[best]) && central(place(i))) best = i;
  });
  return place(best || 0);
}

// Strips: one canvas a row, its maps side by side --------------------------------------------------------------------

function makeStrips() {
  const place = document.getElementById("strips");
  const all = [{ row: -1, name: "input", shape: lab.rows[0].in, activation: "" }];
  lab.rows.forEach((row, i) => {
    if (row.kind !== "Flatten") all.push({ row: i, name: row.name, shape: shapeOf(row), activation: row.activation });
  });
  for (const one of all) {
    const strip = layOut(one);
    const canvas = make("canvas", "strip");
    canvas.width = strip.columns * (strip.width * strip.zoom + 2);
    canvas.height = strip.lines * (strip.height * strip.zoom + 2);
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `${strip.words}. Arrow keys move, page up and page down change the map.`);
    canvas.style.width = `${canvas.width}px`; // the style sheet keeps it within the page
    strip.canvas = canvas;
    listen(strip);
    lab.strips.push(strip);
    place.append(make("figure", "", make("figcaption", "", strip.words), canvas));
  }
}

// How the numbers of a row are laid out: `tiles` maps of height x width, or a list as one tile (`list`).
function layOut({ row, name, shape, activation }) {
  const [height, width, maps] = shape;
  const act = activation ? `, ${{ relu: "ReLU", tanh: "tanh", scaled_tanh: "scaled tanh" }[activation]}` : "";
  if (row < 0) {
    const zoom = Math.max(1, Math.floor(160 / height));
    return { row, height, width, tiles: 1, columns: 1, lines: 1, zoom, list: false, words: `input: ${height}x${width}` };
  }
  if (height === 1 && width === 1) {
    const across = maps === 84 ? 7 : Math.min(maps, 20);
    const down = Math.ceil(maps / across);
    const words = `${name}: ${maps} numbers${act}`;
    return { row, height: down, width: across, tiles: 1, columns: 1, lines: 1, zoom: 14, list: true, units: maps, words };
  }
  const columns = Math.min(maps, 8);
  const zoom = Math.max(1, Math.floor(Math.min(88, 700 / columns) / width));
  const lines = Math.ceil(maps / columns);
  return { row, height, width, tiles: maps, columns, lines, zoom, list: false, words: `${name}: ${maps} maps of ${height}x${width}${act}` };
}

function tileAt(strip, map) {
  const step = { x: strip.width * strip.zoom + 2, y: strip.height * strip.zoom + 2 };
  return { left: (map % strip.columns) * step.x + 1, top: Math.floor(map / strip.columns) * step.y + 1 };
}

function drawStrip(strip) {
  const output = strip.row < 0 ? lab.input : lab.outputs[strip.row];
  const pen = strip.canvas.getContext("2d");
  pen.clearRect(0, 0, strip.canvas.width, strip.canvas.height);
  const largest = largestOf(output.data);
  const channels = output.shape[2];
  for (let map = 0; map < strip.tiles; map++) {
    const { left, top } = tileAt(strip, map);
    const image = pen.createImageData(strip.width * strip.zoom, strip.height * strip.zoom);
    for (let y = 0, i = 0; y < image.height; y++)
      for (let x = 0; x < image.width; x++, i += 4) {
        const pixel = Math.floor(y / strip.zoom) * strip.width + Math.floor(x / strip.zoom);
        if (strip.list && pixel >= strip.units) continue;
        const colour = strip.row < 0 ? inputColour(output, pixel) : PALETTE[entryOf(output.data[strip.list ? pixel : pixel * channels + map], largest)];
        image.data.set(colour, i);
        image.data[i + 3] = 255;
      }
    pen.putImageData(image, left, top);
  }
}

// The input as it looks: grey or colour, not as numbers.
function inputColour(input, pixel) {
  const { low, high } = page.live.preprocess;
  const channels = input.shape[2];
  return [0, 1, 2].map((c) => {
    const channel = channels === 1 ? 0 : c;
    const [from, to] = [low, high].map((levels) => (Array.isArray(levels) ? levels[channel % levels.length] : levels));
    return (255 * (input.data[pixel * channels + channel] - from)) / (to - from);
  });
}

// Marks: the place, its window in the row above, its field on the input.
function drawMarks() {
  const { at } = lab;
  const mark = (strip, map, top, left, height, width) => {
    const tile = tileAt(strip, strip.list ? 0 : map);
    const pen = strip.canvas.getContext("2d");
    const clip = (value, most) => Math.max(0, Math.min(most, value));
    const [y0, y1, x0, x1] = [clip(top, strip.height), clip(top + height, strip.height), clip(left, strip.width), clip(left + width, strip.width)];
    pen.lineWidth = 2;
    pen.strokeStyle = "#00a05a";
    pen.strokeRect(tile.left + x0 * strip.zoom, tile.top + y0 * strip.zoom, (x1 - x0) * strip.zoom, (y1 - y0) * strip.zoom);
  };
  for (const strip of lab.strips) {
    if (strip.row === at.row && strip.list) mark(strip, 0, Math.floor(at.map / strip.width), at.map % strip.width, 1, 1);
    else if (strip.row === at.row) mark(strip, at.row < 0 ? 0 : at.map, at.y, at.x, 1, 1);
    else if (strip.row < 0) {
      const row = lab.rows[at.row];
      const [start, jump, size] = row.out.length < 3 ? [0, 0, Infinity] : row.field;
      mark(strip, 0, start + at.y * jump, start + at.x * jump, size, size);
    } else if (strip.row === at.row - 1 && !strip.list && lab.rows[at.row].out.length === 3) {
      const row = lab.rows[at.row];
      for (let c = 0; c < strip.tiles; c++)
        if (isConnected(row, c, at.map)) mark(strip, c, at.y * row.stride - row.before, at.x * row.stride - row.before, row.size, row.size);
    }
  }
}

function isConnected(row, c, k) {
  if (!row.kind.endsWith("Conv2D")) return c === k;
  return !row.table || Boolean(row.table[c][k]);
}

// Pointing: hover shows a place, a click or tap holds it, arrow keys move it ------------------------------------------

function listen(strip) {
  const { canvas } = strip;
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * canvas.width;
    const y = ((event.clientY - box.top) / box.height) * canvas.height;
    return placeIn(strip, x, y);
  };
  canvas.addEventListener("pointermove", (event) => {
    if (!lab.held && event.pointerType === "mouse") look(point(event));
  });
  canvas.addEventListener("pointerdown", (event) => {
    lab.held = true;
    look(point(event));
  });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], PageUp: [-1, 0, 0], PageDown: [1, 0, 0] };
    if (event.key === "Escape") lab.held = false;
    if (!(event.key in steps)) return;
    event.preventDefault();
    lab.held = true;
    look(moved(strip, steps[event.key]));
  });
}

function placeIn(strip, x, y) {
  const column = Math.floor(x / (strip.width * strip.zoom + 2));
  const line = Math.floor(y / (strip.height * strip.zoom + 2));
  const map = line * strip.columns + column;
  if (column < 0 || column >= strip.columns || map < 0 || map >= strip.tiles) return null;
  const tile = tileAt(strip, map);
  const at = { row: strip.row, map, y: Math.floor((y - tile.top) / strip.zoom), x: Math.floor((x - tile.left) / strip.zoom) };
  if (at.y < 0 || at.x < 0 || at.y >= strip.height || at.x >= strip.width) return null;
  if (!strip.list) return at;
  const unit = at.y * strip.width + at.x;
  return unit < strip.units ? { row: strip.row, map: unit, y: 0, x: 0 } : null;
}

function moved(strip, [maps, down, across]) {
  const at = lab.at.row === strip.row ? lab.at : { row: strip.row, map: 0, y: 0, x: 0 };
  const keep = (value, most) => Math.max(0, Math.min(most - 1, value));
  if (strip.list) return { ...at, map: keep(at.map + across + down * strip.width + maps, strip.units) };
  return { ...at, map: keep(at.map + maps, strip.tiles), y: keep(at.y + down, strip.height), x: keep(at.x + across, strip.width) };
}

function look(at) {
  if (!at) return;
  lab.at = at;
  render();
}

function render() {
  lab.strips.forEach(drawStrip);
  drawMarks();
  document.getElementById("arithmetic").replaceChildren(arithmetic(lab.rows, lab.input, lab.outputs, lab.at));
  if (page.live.whole) {
    showAnswers();
    showSpecials();
  }
}
