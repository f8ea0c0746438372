// One number, taken apart before the reader's eyes: its window, the weights, the products and their sum.

const MOST_PARTS = 6;
const MOST_PRODUCTS = 8;

// The panel for one place: `rows` of the net, `outputs` of all of them, and `at` = { row, map, y, x }; row -1: input.
function arithmetic(rows, input, outputs, at) {
  if (at.row < 0) return ofInput(input, at);
  const row = rows[at.row];
  const below = at.row ? outputs[at.row - 1] : input;
  const value = valueAt(outputs[at.row], at);
  const heading = make("h3", "", `${placeOf(row, at)}: ${shown(value, 4)}`);
  const panel = make("div", "explained", heading, make("p", "small", fieldOf(row, at, input)));
  if (row.kind === "Conv2D" || row.kind === "PartialConv2D") panel.append(...ofConvolution(row, below, at, value));
  else if (row.kind === "Dense") panel.append(...ofDense(row, below, at, value));
  else if (row.kind === "RBF") panel.append(...ofBitmap(row, below, at, value));
  else panel.append(...ofPool(row, below, at, value));
  return panel;
}

function valueAt(output, at) {
  return output.data[(at.y * output.shape[1] + at.x) * output.shape[2] + at.map];
}

function placeOf(row, at) {
  if (row.out.length < 3) return `${row.name}, number ${at.map}`;
  if (row.out[0] === 1 && row.out[1] === 1) return `${row.name}, map ${at.map}`;
  return `${row.name}, map ${at.map}, row ${at.y}, column ${at.x}`;
}

function fieldOf(row, at, input) {
  const [start, jump, size] = row.field;
  const spans = [at.y, at.x].map((place, axis) => {
    const first = row.out.length < 3 ? 0 : Math.max(0, start + place * jump);
    const last = row.out.length < 3 ? input.shape[axis] : Math.min(input.shape[axis], start + place * jump + size);
    return `${first} to ${last - 1}`;
  });
  return `It sees rows ${spans[0]} and columns ${spans[1]} of the input.`;
}

function ofInput(input, at) {
  const values = [];
  for (let c = 0; c < input.shape[2]; c++) values.push(shown(valueAt(input, { ...at, map: c }), 3));
  return make(
    "div",
    "explained",
    make("h3", "", `input, row ${at.y}, column ${at.x}: ${values.join(", ")}`),
    make("p", "small", "A pixel of the image, scaled as the net is given it. Point at a map of a row to see how it is computed."),
  );
}

function ofConvolution(row, below, at, value) {
  const told = explain(row, below, at.y, at.x, at.map);
  const parts = [...told.parts].sort((a, b) => Math.abs(b.sum) - Math.abs(a.sum));
  const most = parts.slice(0, MOST_PARTS).sort((a, b) => a.map - b.map);
  const largestValue = largestOf(below.data);
  const largestWeight = largestOf(parts.flatMap((part) => part.weights));
  const largestProduct = largestOf(parts.flatMap((part) => part.values.map((v, i) => (v || 0) * part.weights[i])));
  const blocks = most.map((part) => {
    const products = part.values.map((v, i) => (v === null ? null : v * part.weights[i]));
    return make(
      "div",
      "product",
      make("h4", "", row.in[2] === 3 && below.shape[2] === 3 ? ["red", "green", "blue"][part.map] : `from map ${part.map}`),
      make(
        "div",
        "factors",
        grid("window", part.values, row.size, largestValue),
        make("span", "sign", "×"),
        grid("weights", part.weights, row.size, largestWeight),
        make("span", "sign", "="),
        grid("products", products, row.size, largestProduct),
        make("span", "sum", `sum ${shown(part.sum, 3)}`),
      ),
    );
  });
  const others = parts.slice(MOST_PARTS);
  const rest = others.reduce((total, part) => total + part.sum, 0);
  const terms = most.map((part) => shown(part.sum, 3));
  if (others.length) terms.push(`${shown(rest, 3)} (${others.length} more maps)`);
  return [...blocks, equation([...terms, `${shown(told.bias, 3)} (bias)`], told.sum, row.activation, value)];
}

function equation(terms, sum, activation, value) {
  const line = make("p", "equation", `${terms.join(" + ")} = `, make("b", "", shown(sum, 4)));
  if (activation) line.append(` → ${nameOf(activation)} → `, make("b", "", shown(value, 4)));
  return line;
}

function nameOf(activation) {
  return { relu: "ReLU: max(0, x)", tanh: "tanh(x)", scaled_tanh: "1.7159 tanh(2x/3)" }[activation];
}

// A window of numbers on the colours of their values; null is outside the map.
function grid(name, values, columns, largest) {
  const table = make("table", "grid");
  table.append(make("caption", "", name));
  for (let i = 0; i < values.length; i += columns) {
    const line = make("tr");
    for (const value of values.slice(i, i + columns)) {
      const cell = make("td", value === null ? "outside" : "", value === null ? "·" : shown(value, 2));
      if (value !== null) {
        cell.style.backgroundColor = colourOf(value, largest);
        cell.style.color = inkOn(value, largest);
      }
      line.append(cell);
    }
    table.append(line);
  }
  return table;
}

function ofPool(row, below, at, value) {
  const values = [];
  for (let dy = 0; dy < row.size; dy++)
    for (let dx = 0; dx < row.size; dx++)
      values.push(valueAt(below, { map: at.map, y: at.y * row.stride + dy, x: at.x * row.stride + dx }));
  const window = make("div", "factors", grid(`window of map ${at.map}`, values, row.size, largestOf(below.data)));
  const sum = values.reduce((a, b) => a + b, 0);
  if (row.kind === "MaxPool") return [window, make("p", "equation", `the largest of them is ${shown(value, 4)}`)];
  if (row.kind === "AveragePool")
    return [window, make("p", "equation", `their sum ${shown(sum, 4)} / ${values.length} = `, make("b", "", shown(value, 4)))];
  const before = sum * row.w[at.map] + row.b[at.map];
  const terms = [`${shown(sum, 4)} (sum) × ${shown(row.w[at.map], 4)} (coefficient)`, `${shown(row.b[at.map], 4)} (bias)`];
  return [window, equation(terms, before, row.activation, value)];
}

function ofDense(row, below, at, value) {
  const products = Array.from(below.data, (x, i) => ({ i, x, w: row.w[i * row.out[0] + at.map] }));
  products.sort((a, b) => Math.abs(b.x * b.w) - Math.abs(a.x * a.w));
  const most = products.slice(0, MOST_PRODUCTS);
  const table = make("table", "products");
  const head = make("tr");
  for (const name of ["input", "its value", "weight", "product"]) head.append(make("th", "", name));
  table.append(head);
  for (const { i, x, w } of most) {
    const line = make("tr", "", make("td", "", `no. ${i}`));
    for (const number of [x, w, x * w]) line.append(make("td", "", shown(number, 4)));
    table.append(line);
  }
  const sumOf = (some) => some.reduce((total, { x, w }) => total + x * w, 0);
  const rest = products.slice(MOST_PRODUCTS);
  const terms = [`${shown(sumOf(most), 4)} (these ${most.length} products)`];
  if (rest.length) terms.push(`${shown(sumOf(rest), 4)} (${rest.length} more)`);
  terms.push(`${shown(row.b[at.map], 4)} (bias)`);
  return [make("p", "small", "The largest products:"), table, equation(terms, sumOf(products) + row.b[at.map], row.activation, value)];
}

// LeNet-5's output: the squared distance between F6 and a bitmap of 7x12.
function ofBitmap(row, below, at, value) {
  const size = below.data.length;
  const target = row.w.subarray(at.map * size, (at.map + 1) * size);
  const squares = Array.from(below.data, (x, i) => (x - target[i]) ** 2);
  const pictures = [
    ["the row above", below.data, 1.7159],
    [`bitmap of ${page.classes[at.map]}`, target, 1.7159],
    ["squared differences", squares, largestOf(squares)],
  ].map(([name, numbers, largest]) => make("figure", "bitmap", bitmapOf(numbers, largest), make("figcaption", "", name)));
  const line = make("p", "equation", `the ${size} squared differences add up to ${shown(-value, 3)}; the output is minus that: `);
  line.append(make("b", "", shown(value, 3)));
  return [make("div", "factors", ...pictures), line];
}

// A list of numbers as a small picture, 7 wide where it is a bitmap.
function bitmapOf(numbers, largest) {
  const width = numbers.length === 84 ? 7 : Math.min(numbers.length, 20);
  const canvas = make("canvas", "pixels");
  canvas.width = width;
  canvas.height = Math.ceil(numbers.length / width);
  const pen = canvas.getContext("2d");
  numbers.forEach((value, i) => {
    pen.fillStyle = colourOf(value, largest);
    pen.fillRect(i % width, Math.floor(i / width), 1, 1);
  });
  return canvas;
}
