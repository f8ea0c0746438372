// The rest of the page: the film's slider, and what a pixel of a map sees of its image.

function startFilm() {
  const slider = document.getElementById("epoch");
  if (!slider) return;
  const charts = [...document.querySelectorAll("#training svg[data-first]")];
  const lines = charts.map((chart) => {
    const line = chart.querySelector("line").cloneNode();
    line.setAttribute("class", "marker");
    line.setAttribute("y1", 18);
    line.setAttribute("y2", 210);
    chart.insertBefore(line, chart.querySelector("polyline")); // below the curves
    return line;
  });
  const show = () => {
    const row = page.film.rows[Number(slider.value)];
    document.getElementById("epoch-name").textContent = row.epoch;
    document.getElementById("epoch-told").textContent = toldOf(row);
    charts.forEach((chart, i) => {
      const { first, last, left, right } = chart.dataset;
      const part = Math.max(0, (row.epoch - first) / (last - first || 1));
      const x = Number(left) + part * (right - left);
      lines[i].setAttribute("x1", x);
      lines[i].setAttribute("x2", x);
    });
    const frame = page.film.frames.filter((one) => one.epoch <= row.epoch).pop() || page.film.frames[0];
    if (frame) showFrame(frame);
  };
  slider.addEventListener("input", show);
  startPlay(slider, show);
  show();
}

// One epoch's filters and confusion, in the place of those that stand in the page.
function showFrame(frame) {
  document.getElementById("frame-name").textContent = frame.epoch === 0 ? "0: the net before training" : frame.epoch;
  const filters = document.getElementById("frame-filters");
  if (filters && frame.filters) filters.src = frame.filters;
  const figure = document.getElementById("frame-confusion");
  if (!figure) return;
  figure.classList.toggle("absent", !frame.confusion);
  if (!frame.confusion) return;
  const list = figure.querySelector("ol");
  if (list) list.replaceChildren(...frame.confusion.map((words) => make("li", "", words)));
  figure.querySelectorAll("tbody tr").forEach((line, y) => {
    line.querySelectorAll("td").forEach((cell, x) => {
      const [words, kind] = x < page.classes.length ? frame.confusion[y][x].split(" ") : [frame.confusion[y][x], "recall"];
      cell.textContent = words;
      cell.className = kind;
    });
  });
}

// The button that moves the slider by itself: a film takes about ten seconds.
function startPlay(slider, show) {
  const button = document.getElementById("play");
  const pause = Math.max(60, Math.min(700, 10000 / page.film.rows.length));
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  };
  const next = () => {
    if (slider.value === slider.max) return stop();
    slider.value = Number(slider.value) + 1;
    show();
  };
  button.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (slider.value === slider.max) slider.value = 0;
    show();
    button.textContent = "Stop";
    timer = setInterval(next, pause);
  });
  slider.addEventListener("pointerdown", stop);
  slider.addEventListener("keydown", stop);
}

function toldOf(row) {
  if (row.epoch === 0) return "before training: the weights are random";
  const percent = (x) => (typeof x === "number" ? `${(100 * x).toFixed(2)} %` : "unknown");
  const number = (x) => (typeof x === "number" ? Number(x.toPrecision(4)) : "unknown");
  return (
    `training: loss ${number(row.train_loss)}, accuracy ${percent(row.train_accuracy)}; ` +
    `validation: loss ${number(row.val_loss)}, accuracy ${percent(row.val_accuracy)}; learning rate ${number(row.learning_rate)}`
  );
}

// Maps of the table: the number under the mouse, and the part of the image that it sees.
function startMaps() {
  document.querySelectorAll("img.maps").forEach((image) => {
    const figure = image.closest("figure");
    const told = figure.querySelector(".told");
    let pixels = null;
    const show = (event) => {
      pixels = pixels || read(image);
      const box = image.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) / box.width) * image.naturalWidth);
      const y = Math.floor(((event.clientY - box.top) / box.height) * image.naturalHeight);
      explainMap(image, pixels, x, y, told, figure);
    };
    image.addEventListener("pointermove", show);
    image.addEventListener("pointerdown", show);
  });
}

function read(image) {
  const canvas = make("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0);
  return pen.getImageData(0, 0, canvas.width, canvas.height);
}

function explainMap(image, pixels, x, y, told, figure) {
  const maps = page.maps[Number(image.dataset.maps)];
  const tileX = Math.floor(x / (maps.width + 1));
  const tileY = Math.floor(y / (maps.height + 1));
  const [atX, atY] = [x - tileX * (maps.width + 1), y - tileY * (maps.height + 1)];
  const i = 4 * (y * pixels.width + x);
  if (atX >= maps.width || atY >= maps.height || !pixels.data[i + 3]) return;
  const entry = ENTRY_OF.get([...pixels.data.slice(i, i + 3)].join());
  const value = shown(((entry - 128) / 127) * maps.largest, 3);
  const unit = atY * maps.width + atX;
  const channel = maps.channels[tileY * maps.columns + tileX];
  const box = figure.querySelector(".box");
  if (maps.flat) {
    told.textContent = `number ${unit}: about ${value}; it sees the whole image`;
    Object.assign(box.style, { top: "0", left: "0", width: "100%", height: "100%", display: "block" });
    return;
  }
  const span = (place, axis) => {
    const [start, jump, size] = maps.field;
    const first = Math.max(0, start + place * maps.step * jump);
    const last = Math.min(page.input[axis], start + (place * maps.step + maps.step - 1) * jump + size);
    return [first, Math.max(first + 1, last)];
  };
  const [[top, bottom], [left, right]] = [span(atY, 0), span(atX, 1)];
  const where = maps.step > 1 ? `rows and columns from ${atY * maps.step} and ${atX * maps.step}` : `row ${atY}, column ${atX}`;
  told.textContent = `map ${channel}, ${where}: about ${value}; it sees rows ${top} to ${bottom - 1} and columns ${left} to ${right - 1} of the image`;
  const percent = (part, axis) => `${(100 * part) / page.input[axis]}%`;
  const sides = { top: percent(top, 0), height: percent(bottom - top, 0), left: percent(left, 1), width: percent(right - left, 1) };
  Object.assign(box.style, { ...sides, display: "block" });
}

document.documentElement.classList.add("with-js");
startFilm();
startMaps();
startLab();
