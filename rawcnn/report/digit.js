// A drawn stroke as MNIST shows its digits: fitted into 20 x 20 pixels, its centre of mass in the middle of 28 x 28.

function asDigit(ink, width, height) {
  let top = height;
  let bottom = -1;
  let left = width;
  let right = -1;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (ink[y * width + x] > 0.1) {
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
        left = Math.min(left, x);
        right = Math.max(right, x);
      }
  const digit = new Float32Array(28 * 28);
  if (bottom < 0) return digit;
  const scale = Math.max(bottom - top + 1, right - left + 1) / 20;
  const small = new Float32Array(20 * 20);
  const rows = Math.min(20, Math.ceil((bottom - top + 1) / scale));
  const columns = Math.min(20, Math.ceil((right - left + 1) / scale));
  let mass = 0;
  let middleY = 0;
  let middleX = 0;
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) {
      const value = meanOf(ink, width, height, top + y * scale, left + x * scale, scale);
      small[y * 20 + x] = value;
      mass += value;
      middleY += value * y;
      middleX += value * x;
    }
  const down = Math.min(28 - rows, Math.max(0, Math.round(13.5 - middleY / mass)));
  const across = Math.min(28 - columns, Math.max(0, Math.round(13.5 - middleX / mass)));
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) digit[(y + down) * 28 + x + across] = Math.round(255 * small[y * 20 + x]);
  return digit;
}

// The mean ink of a square of `side` pixels at (top, left).
function meanOf(ink, width, height, top, left, side) {
  const lastY = Math.min(height, Math.max(Math.floor(top) + 1, Math.round(top + side)));
  const lastX = Math.min(width, Math.max(Math.floor(left) + 1, Math.round(left + side)));
  let sum = 0;
  let count = 0;
  for (let y = Math.floor(top); y < lastY; y++)
    for (let x = Math.floor(left); x < lastX; x++) {
      sum += ink[y * width + x];
      count++;
    }
  return count ? sum / count : 0;
}

// Pixels 0 ... 255 [height, width, channels] as the net is given them: padding of 0 around, then 0 -> low, 255 -> high.
function preprocess(pixels, height, width, channels, how) {
  const shape = [height + 2 * how.pad, width + 2 * how.pad, channels];
  const data = new Float32Array(shape[0] * shape[1] * channels);
  const level = (levels, c) => (Array.isArray(levels) ? levels[c % levels.length] : levels);
  for (let y = 0, i = 0; y < shape[0]; y++)
    for (let x = 0; x < shape[1]; x++)
      for (let c = 0; c < channels; c++, i++) {
        const inside = y >= how.pad && y < height + how.pad && x >= how.pad && x < width + how.pad;
        const pixel = inside ? pixels[((y - how.pad) * width + x - how.pad) * channels + c] : 0;
        const low = level(how.low, c);
        data[i] = Math.fround(pixel) * Math.fround((level(how.high, c) - low) / 255) + low;
      }
  return { data, shape };
}
