// The forward pass of a small net, row by row, and the arithmetic behind one of its numbers.
//
// A net is { rows, numbers }: rows as rawcnn/report/live.py describes them, and all weights in one Float32Array.
// A map is { data: Float32Array, shape: [height, width, channels] }, in the order of TensorFlow: channels last.
// Sums are taken in double precision and stored as float32.

const ACTIVATIONS = {
  "": (x) => x,
  relu: (x) => Math.max(0, x),
  tanh: Math.tanh,
  scaled_tanh: (x) => 1.7159 * Math.tanh((2 / 3) * x),
};

// From base64 of little-endian float32 to numbers, whatever the byte order of this machine.
function decodeNumbers(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const view = new DataView(bytes.buffer);
  const numbers = new Float32Array(text.length / 4);
  for (let i = 0; i < numbers.length; i++) numbers[i] = view.getFloat32(4 * i, true);
  return numbers;
}

// Give every row its weights: w and b become arrays. A connection table makes w dense, 0 where nothing is connected.
function openNet(saved) {
  const numbers = decodeNumbers(saved.numbers);
  const part = (place) => place && numbers.subarray(place[0], place[0] + place[1]);
  return saved.rows.map((row) => ({ ...row, w: part(row.w), b: part(row.b) }));
}

function shapeOf(row) {
  return row.out.length === 3 ? row.out : [1, 1, row.out[0]];
}

// Every row's output for one input map, in order.
function forward(rows, input) {
  const outputs = [];
  let x = input;
  for (const row of rows) {
    x = { data: run(row, x), shape: shapeOf(row) };
    outputs.push(x);
  }
  return outputs;
}

function run(row, x) {
  const [height, width, channels] = shapeOf(row);
  const y = new Float32Array(height * width * channels);
  if (row.kind === "Flatten") {
    y.set(x.data);
    return y;
  }
  const activate = ACTIVATIONS[row.activation];
  for (let top = 0, i = 0; top < height; top++)
    for (let left = 0; left < width; left++)
      for (let k = 0; k < channels; k++, i++) y[i] = activate(sumAt(row, x, top, left, k));
  return y;
}

// What a row computes at one place before its activation.
function sumAt(row, x, top, left, k) {
  if (row.kind === "Dense") return row.b[k] + dot(row.w, k, row.out[0], x.data);
  if (row.kind === "RBF") return -distance(row.w, k * x.data.length, x.data);
  if (row.kind === "Conv2D" || row.kind === "PartialConv2D") return convolveAt(row, x, top, left, k);
  const size = row.size;
  let sum = 0;
  let largest = -Infinity;
  for (let dy = 0; dy < size; dy++)
    for (let dx = 0; dx < size; dx++) {
      const value = x.data[((top * row.stride + dy) * x.shape[1] + left * row.stride + dx) * x.shape[2] + k];
      sum += value;
      largest = Math.max(largest, value);
    }
  if (row.kind === "MaxPool") return largest;
  if (row.kind === "AveragePool") return sum / (size * size);
  return sum * row.w[k] + row.b[k]; // Subsample: LeNet's S2 and S4
}

function dot(w, k, units, x) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * w[i * units + k];
  return sum;
}

function distance(w, start, x) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] - w[start + i]) ** 2;
  return sum;
}

function convolveAt(row, x, top, left, k) {
  const [height, width, channels] = x.shape;
  let sum = row.b ? row.b[k] : 0;
  for (let dy = 0; dy < row.size; dy++) {
    const y = top * row.stride + dy - row.before;
    if (y < 0 || y >= height) continue;
    for (let dx = 0; dx < row.size; dx++) {
      const at = left * row.stride + dx - row.before;
      if (at < 0 || at >= width) continue;
      const pixel = (y * width + at) * channels;
      for (let c = 0; c < channels; c++) {
        const w = weightIndex(row, dy, dx, c, k);
        if (w >= 0) sum += x.data[pixel + c] * row.w[w];
      }
    }
  }
  return sum;
}

// Where the weight of one connection stands; -1 where C3's table has none. Its connections count in reading order.
function weightIndex(row, dy, dx, c, k) {
  const at = dy * row.size + dx;
  if (!row.table) return (at * row.in[2] + c) * row.out[2] + k;
  if (!row.places) row.places = placesOf(row.table);
  return row.places[c][k] < 0 ? -1 : at * row.places.count + row.places[c][k];
}

function placesOf(table) {
  let count = 0;
  const places = table.map((line) => line.map((connected) => (connected ? count++ : -1)));
  places.count = count;
  return places;
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (x) => Math.exp(x - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}

// A convolution's number at one place, taken apart: for each input map that is connected its window (null outside the
// map), its weights and the sum of their products; then the bias and the activation.
function explain(row, x, top, left, k) {
  const parts = [];
  for (let c = 0; c < x.shape[2]; c++) {
    if (weightIndex(row, 0, 0, c, k) < 0) continue;
    const part = { map: c, values: [], weights: [], sum: 0 };
    for (let dy = 0; dy < row.size; dy++)
      for (let dx = 0; dx < row.size; dx++) {
        const y = top * row.stride + dy - row.before;
        const at = left * row.stride + dx - row.before;
        const inside = y >= 0 && y < x.shape[0] && at >= 0 && at < x.shape[1];
        const value = inside ? x.data[(y * x.shape[1] + at) * x.shape[2] + c] : null;
        const weight = row.w[weightIndex(row, dy, dx, c, k)];
        part.values.push(value);
        part.weights.push(weight);
        part.sum += (value || 0) * weight;
      }
    parts.push(part);
  }
  const bias = row.b ? row.b[k] : 0;
  const sum = parts.reduce((total, part) => total + part.sum, bias);
  return { parts, bias, sum, value: ACTIVATIONS[row.activation](sum) };
}
