// Runs functions of the page's modules for the tests: each line {"call": name, ...} is answered by a line.

import { createInterface } from "node:readline";

const js = new URL("../../browser/js/", import.meta.url);
const { letterbox, toPlanes } = await import(new URL("letterbox.js", js));
const { findDetections, toPicture } = await import(new URL("detections.js", js));
const { parseNames, readMetadata } = await import(new URL("metadata.js", js));
const { checkFile, checkOutput, readLayout } = await import(new URL("model.js", js));
const { magnification } = await import(new URL("draw.js", js));
const { findJoints, jointsInPicture, limbSide, parseSkeleton, squared } = await import(new URL("poses.js", js));

const bytesOf = (text) => new Uint8Array(Buffer.from(text, "base64"));
const numbersOf = (text) => new Float32Array(bytesOf(text).buffer);
const textOf = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");

const calls = {
  letterbox({ data, width, height, inputHw }) {
    const boxed = letterbox({ data: bytesOf(data), width, height }, inputHw);
    return { ...boxed, data: textOf(boxed.data), planes: textOf(toPlanes(boxed)) };
  },
  detections({ data, dims, options, place, width, height }) {
    const found = findDetections({ data: numbersOf(data), dims }, options);
    return place ? toPicture(found, place, width, height) : found;
  },
  squared({ data, width, height, size, how }) {
    const crop = squared({ data: bytesOf(data), width, height }, size, how);
    return { ...crop, data: textOf(crop.data) };
  },
  joints({ data, names, minScore, place }) {
    return jointsInPicture(findJoints({ data: numbersOf(data) }, names, minScore), place);
  },
  skeleton: ({ text, names }) => parseSkeleton(text, names),
  limbSides: ({ pairs }) => pairs.map((pair) => limbSide(...pair)),
  metadata: ({ data }) => Object.fromEntries(readMetadata(bytesOf(data))),
  manyMetadata: ({ files }) => files.map((data) => attempt(() => Object.fromEntries(readMetadata(bytesOf(data))))),
  names: ({ text }) => parseNames(text),
  file: ({ data }) => Object.fromEntries(checkFile(bytesOf(data), "best.onnx")),
  layout: ({ session, metadata }) => readLayout(session, new Map(Object.entries(metadata)), "best.onnx"),
  output: ({ dims, layout }) => checkOutput(dims, layout, "best.onnx"),
  magnification: ({ values }) => magnification(...values),
};

function attempt(action) {
  try {
    return { value: action() };
  } catch (error) {
    return { error: error.message, kind: error.constructor.name };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(attempt(() => calls[question.call](question)))}\n`);
}
