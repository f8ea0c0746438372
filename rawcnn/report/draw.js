// What feeds the laboratory: a pad to draw on, test images to choose, the answers, C3's table and the bitmaps.

function startDrawing() {
  const pad = document.getElementById("pad");
  const pen = pad.getContext("2d", { willReadFrequently: true });
  let last = null;
  const point = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * PEN.side, ((event.clientY - box.top) / box.height) * PEN.side];
  };
  const stroke = (event) => {
    const now = point(event);
    pen.lineCap = "round";
    pen.lineWidth = 2 * PEN.radius;
    pen.strokeStyle = "#fff";
    pen.beginPath();
    pen.moveTo(...(last || now));
    pen.lineTo(...now);
    pen.stroke();
    last = now;
    requestAnimationFrame(read);
  };
  const read = () => {
    const { data } = pen.getImageData(0, 0, PEN.side, PEN.side);
    const ink = Float32Array.from({ length: PEN.side * PEN.side }, (_, i) => data[4 * i + 3] / 255);
    mark(null);
    const size = page.live.size;
    setInput(preprocess(asDigit(ink, PEN.side, PEN.side), size, size, 1, page.live.preprocess));
  };
  pad.addEventListener("pointerdown", (event) => {
    pad.setPointerCapture(event.pointerId);
    last = null;
    stroke(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (pad.hasPointerCapture(event.pointerId)) stroke(event);
  });
  document.getElementById("clear").addEventListener("click", () => {
    pen.clearRect(0, 0, PEN.side, PEN.side);
    read();
  });
}

// Test images as buttons: what a keyboard chooses instead of drawing.
function makeSamples() {
  const place = document.getElementById("samples");
  page.live.samples.forEach((sample, i) => {
    const image = make("img", "pixels");
    image.src = sample.image;
    image.alt = "";
    const button = make("button", "sample", image);
    button.type = "button";
    button.setAttribute("aria-label", `image ${i + 1}: ${sample.words}`);
    button.title = sample.words;
    button.addEventListener("click", () => choose(i));
    place.append(button);
  });
}

function mark(chosen) {
  document.querySelectorAll("#samples button").forEach((button, i) => button.setAttribute("aria-pressed", i === chosen));
}

// Show a test image: its PNG holds the net's input as pixels 0 ... 255, padding included.
async function choose(i) {
  const image = document.querySelectorAll("#samples img")[i];
  await image.decode();
  const canvas = make("canvas");
  const [height, width, channels] = lab.rows[0].in;
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  const { data } = pen.getImageData(0, 0, width, height);
  const pixels = new Float32Array(height * width * channels);
  for (let p = 0; p < height * width; p++) for (let c = 0; c < channels; c++) pixels[p * channels + c] = data[4 * p + c];
  mark(i);
  setInput(preprocess(pixels, height, width, channels, { ...page.live.preprocess, pad: 0 }));
}

function showAnswers() {
  const place = document.getElementById("answers");
  const logits = lab.outputs[lab.outputs.length - 1].data;
  const probabilities = softmax(logits);
  const best = probabilities.indexOf(Math.max(...probabilities));
  place.dataset.best = best;
  const lines = probabilities.map((p, k) => {
    const bar = make("span", "fill");
    bar.style.width = `${(100 * p).toFixed(1)}%`;
    const line = make("li", k === best ? "best" : "", make("span", "name", page.classes[k]), make("span", "bar", bar));
    line.append(make("span", "percent", `${(100 * p).toFixed(1)} %`));
    return line;
  });
  place.replaceChildren(...lines);
  document.getElementById("verdict").textContent = `The net says ${page.classes[best]}.`;
}

// C3's connection table and the bitmaps of the output, where the net has them -----------------------------------------

function makeSpecials() {
  const row = lab.rows.findIndex((one) => one.table);
  if (row >= 0) lab.table = { row, cells: makeTable(row) };
  const last = lab.rows.length - 1;
  if (lab.rows[last].kind === "RBF") lab.bitmaps = last;
}

function makeTable(index) {
  const row = lab.rows[index];
  const table = make("table", "connections");
  const words = `${row.name}: which map (column) sees which map above it (row). The colour is how much it gets from there now.`;
  table.setAttribute("aria-label", words);
  const head = make("tr", "", make("th"));
  row.table[0].forEach((_, k) => {
    const button = make("button", "", String(k));
    button.type = "button";
    button.setAttribute("aria-label", `look at map ${k}`);
    button.addEventListener("click", () => look({ row: index, map: k, y: Math.floor(row.out[0] / 2), x: Math.floor(row.out[1] / 2) }));
    head.append(make("th", "", button));
  });
  table.append(head);
  const cells = row.table.map((line, c) => {
    const made = line.map((connected) => make("td", connected ? "" : "outside", connected ? "" : "·"));
    table.append(make("tr", "", make("th", "", String(c)), ...made));
    return made;
  });
  document.getElementById("special").append(make("p", "small", words), make("div", "scroll", table), make("div", "bitmaps"));
  return cells;
}

function showSpecials() {
  if (lab.table) {
    const { row, cells } = lab.table;
    const strengths = contributions(lab.rows[row], lab.outputs[row - 1]);
    const largest = largestOf(strengths.flat());
    strengths.forEach((line, c) =>
      line.forEach((strength, k) => {
        if (!lab.rows[row].table[c][k]) return;
        cells[c][k].style.backgroundColor = colourOf(strength, largest);
        cells[c][k].title = `map ${c} gives map ${k} ${shown(strength, 3)} on average`;
        cells[c][k].classList.toggle("now", lab.at.row === row && lab.at.map === k);
      }),
    );
  }
  if (lab.bitmaps !== undefined) showBitmaps();
}

// What each map gives to each map, on average over all places: [in][out].
function contributions(row, below) {
  const sums = row.table.map((line) => line.map(() => 0));
  const [height, width, maps] = row.out;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let k = 0; k < maps; k++)
        for (const part of explain(row, below, y, x, k).parts) sums[part.map][k] += part.sum / (height * width);
  return sums;
}

function showBitmaps() {
  const row = lab.rows[lab.bitmaps];
  const above = lab.outputs[lab.bitmaps - 1].data;
  const distances = Array.from(lab.outputs[lab.bitmaps].data, (value) => -value);
  const nearest = distances.indexOf(Math.min(...distances));
  const figures = distances.map((distance, k) => {
    const target = row.w.subarray(k * above.length, (k + 1) * above.length);
    const caption = make("figcaption", "", make("b", "", page.classes[k]), make("br"), shown(distance, 1));
    return make("figure", k === nearest ? "bitmap nearest" : "bitmap", bitmapOf(target, 1.7159), caption);
  });
  const own = make("figure", "bitmap own", bitmapOf(above, 1.7159), make("figcaption", "", make("b", "", lab.rows[lab.bitmaps - 1].name), make("br"), "now"));
  const told = make("p", "", "The row f6 draws a picture of 7x12. The net answers the class whose bitmap is nearest; below each is the squared distance.");
  document.querySelector("#special .bitmaps").replaceChildren(told, make("div", "factors", own, ...figures));
}
