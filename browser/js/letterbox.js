// Fitting a picture into the network's input, as mgil/datasets/batches/letterbox.py does: one factor for both sides, by area where it
// shrinks and bilinearly where it grows, grey around it.

export const FILL = 114; // grey level around the picture, as in YOLOv5

/**
 * Where a picture lies in the network's input: input pixels = picture pixels * gain + pad.
 *
 * @param {number} width of the picture.
 * @param {number} height of the picture.
 * @param {[number, number]} inputHw height and width of the input.
 */
export function placing(width, height, [inputHeight, inputWidth]) {
  const longer = Math.max(height, width);
  const side = Math.floor(Math.min((inputHeight * longer) / height, (inputWidth * longer) / width));
  const fittedWidth = Math.ceil((width * side) / longer);
  const fittedHeight = Math.ceil((height * side) / longer);
  return {
    width: fittedWidth,
    height: fittedHeight,
    gain: [fittedWidth / width, fittedHeight / height],
    pad: [Math.floor((inputWidth - fittedWidth) / 2), Math.floor((inputHeight - fittedHeight) / 2)],
  };
}

/**
 * Fit a picture into the network's input.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture RGBA; the alpha channel is left out.
 * @param {[number, number]} inputHw height and width of the input.
 * @returns {{data: Uint8ClampedArray, width: number, height: number, gain: number[], pad: number[]}} RGBA, opaque.
 */
export function letterbox(picture, inputHw) {
  const place = placing(picture.width, picture.height, inputHw);
  const [inputHeight, inputWidth] = inputHw;
  const framed = new Uint8ClampedArray(inputHeight * inputWidth * 4);
  framed.fill(FILL);
  for (let i = 3; i < framed.length; i += 4) framed[i] = 255;

  const grows = place.width > picture.width || place.height > picture.height;
  const tapsOf = grows ? linearTaps : areaTaps;
  const narrow = squeezeRows(picture, tapsOf(picture.width, place.width)); // (H, w, 3)
  const rows = tapsOf(picture.height, place.height);
  const rowLength = place.width * 3;
  const sum = new Float32Array(rowLength);
  for (let y = 0; y < place.height; y++) {
    sum.fill(0);
    for (let tap = rows.ends[y]; tap < rows.ends[y + 1]; tap++) {
      const weight = rows.weights[tap];
      const start = rows.sources[tap] * rowLength;
      for (let i = 0; i < rowLength; i++) sum[i] += weight * narrow[start + i];
    }
    let target = ((y + place.pad[1]) * inputWidth + place.pad[0]) * 4;
    for (let i = 0; i < rowLength; i += 3, target += 4) {
      framed[target] = sum[i]; // rounded and kept in 0..255 by the array
      framed[target + 1] = sum[i + 1];
      framed[target + 2] = sum[i + 2];
    }
  }
  return { data: framed, width: inputWidth, height: inputHeight, gain: place.gain, pad: place.pad };
}

/** Resample each row: RGBA of (H, W) -> float32 RGB of (H, w). */
function squeezeRows({ data, width, height }, columns) {
  const outWidth = columns.ends.length - 1;
  const out = new Float32Array(height * outWidth * 3);
  let target = 0;
  for (let y = 0; y < height; y++) {
    const row = y * width;
    for (let x = 0; x < outWidth; x++, target += 3) {
      let red = 0;
      let green = 0;
      let blue = 0;
      for (let tap = columns.ends[x]; tap < columns.ends[x + 1]; tap++) {
        const source = (row + columns.sources[tap]) * 4;
        const weight = columns.weights[tap];
        red += weight * data[source];
        green += weight * data[source + 1];
        blue += weight * data[source + 2];
      }
      out[target] = red;
      out[target + 1] = green;
      out[target + 2] = blue;
    }
  }
  return out;
}

/** What each of `to` pixels takes from each of `from`: the share of it that each covers. */
function areaTaps(from, to) {
  return collectTaps(to, (index, add) => {
    const start = (index * from) / to;
    const end = ((index + 1) * from) / to;
    for (let source = Math.floor(start); source < Math.min(end, from); source++) {
      add(source, (Math.min(source + 1, end) - Math.max(source, start)) / (end - start));
    }
  });
}

/** The same for growing: a mixture of the two nearest, with the centres of pixels at halves. */
function linearTaps(from, to) {
  return collectTaps(to, (index, add) => {
    const centre = Math.min(Math.max(((index + 0.5) * from) / to - 0.5, 0), from - 1);
    const source = Math.floor(centre);
    const share = centre - source;
    add(source, 1 - share);
    if (share > 0) add(source + 1, share);
  });
}

function collectTaps(count, each) {
  const sources = [];
  const weights = [];
  const ends = [0]; // the taps of output pixel i are those from ends[i] to ends[i + 1]
  for (let index = 0; index < count; index++) {
    each(index, (source, weight) => {
      sources.push(source);
      weights.push(weight);
    });
    ends.push(sources.length);
  }
  return { sources: Int32Array.from(sources), weights: Float64Array.from(weights), ends: Int32Array.from(ends) };
}

/**
 * Turn RGBA pixels into what the network takes.
 *
 * @param {{data: Uint8ClampedArray, width: number, height: number}} picture
 * @returns {Float32Array} (3, H, W), RGB, 0..1.
 */
export function toPlanes({ data, width, height }) {
  const area = width * height;
  const planes = new Float32Array(3 * area);
  for (let pixel = 0; pixel < area; pixel++) {
    planes[pixel] = data[pixel * 4] / 255;
    planes[area + pixel] = data[pixel * 4 + 1] / 255;
    planes[2 * area + pixel] = data[pixel * 4 + 2] / 255;
  }
  return planes;
}
