// The colours of numbers: the palette of rawcnn/report/images.py, white for 0, orange above, blue below.

const page = JSON.parse(document.getElementById("data").textContent);
const PALETTE = page.palette;
const ENTRY_OF = new Map(PALETTE.map((colour, entry) => [colour.join(), entry]));

function entryOf(value, largest) {
  return Math.round(128 + 127 * Math.max(-1, Math.min(1, value / (largest || 1))));
}

function colourOf(value, largest) {
  return `rgb(${PALETTE[entryOf(value, largest)].join()})`;
}

// Black or white, whichever is legible on a number's colour.
function inkOn(value, largest) {
  const [r, g, b] = PALETTE[entryOf(value, largest)];
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff";
}

function largestOf(values) {
  let largest = 0;
  for (const value of values) largest = Math.max(largest, Math.abs(value));
  return largest || 1;
}

// A number as a student reads it: two decimals, a real minus.
function shown(value, decimals = 2) {
  const text = Math.abs(value) >= 1000 ? value.toFixed(0) : value.toFixed(decimals);
  const zero = Number(text) === 0 ? text.replace("-", "") : text;
  return zero.replace("-", "\u2212");
}

// An element with a class and children; text stays text.
function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null));
  return element;
}
