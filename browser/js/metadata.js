// The metadata of an ONNX file. ONNX Runtime Web does not hand it out, so it is read from the file's own bytes.

// Field numbers of onnx.proto: ModelProto and StringStringEntryProto.
const GRAPH = 7;
const METADATA_PROPS = 14;
const KEY = 1;
const VALUE = 2;

const WIRE_VARINT = 0;
const WIRE_64_BIT = 1;
const WIRE_LENGTH = 2;
const WIRE_32_BIT = 5;

/**
 * Read the metadata properties of an ONNX model.
 *
 * @param {Uint8Array} bytes the whole file.
 * @returns {Map<string, string>}
 * @throws {Error} the bytes are no ONNX model, or not all of one.
 */
export function readMetadata(bytes) {
  const metadata = new Map();
  let hasGraph = false;
  for (const { field, payload } of fields(bytes)) {
    if (field === GRAPH && payload) hasGraph = true;
    if (field === METADATA_PROPS && payload) metadata.set(...entry(payload));
  }
  if (!hasGraph) throw new Error("it holds no network");
  return metadata;
}

function entry(bytes) {
  const texts = { [KEY]: "", [VALUE]: "" };
  const decoder = new TextDecoder();
  for (const { field, payload } of fields(bytes)) {
    if (payload && field in texts) texts[field] = decoder.decode(payload);
  }
  return [texts[KEY], texts[VALUE]];
}

/** Walk over the fields of one protobuf message; `payload` is null for numbers, whose values are not needed here. */
function* fields(bytes) {
  let position = 0;

  function varint() {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 63; scale *= 128) {
      if (position >= bytes.length) throw new Error("it ends too early");
      const byte = bytes[position++];
      value += (byte & 127) * scale; // not by bits: those of JavaScript end at 32
      if (byte < 128) return value;
    }
    throw new Error("it holds a number that is too long");
  }

  function skip(count) {
    if (count > bytes.length - position) throw new Error("it ends too early");
    position += count;
  }

  while (position < bytes.length) {
    const tag = varint();
    const field = Math.floor(tag / 8);
    const wire = tag % 8;
    let payload = null;
    if (field === 0) throw new Error("it is no protobuf message");
    if (wire === WIRE_VARINT) varint();
    else if (wire === WIRE_64_BIT) skip(8);
    else if (wire === WIRE_32_BIT) skip(4);
    else if (wire === WIRE_LENGTH) {
      const length = varint();
      const start = position;
      skip(length);
      payload = bytes.subarray(start, position);
    } else throw new Error("it is no protobuf message");
    yield { field, payload };
  }
}

const TOKEN = /\s*(?:([{}[\]:,])|(\d+)|('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"))/sy;
const ESCAPE = /\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))/gs;
const CONTROLS = { n: "\n", r: "\r", t: "\t", b: "\b", f: "\f" };

/**
 * Read class names as they stand in the metadata: {0: 'person', 1: 'helmet'} as Python writes it, {"0": "person"} as
 * JSON does, or a plain list.
 *
 * @param {string} text
 * @returns {string[]} names by class index.
 * @throws {Error} the text is none of these, or an index is missing.
 */
export function parseNames(text) {
  const tokens = tokenise(text);
  let next = 0;
  const wrong = () => new Error(`class names ${JSON.stringify(text.slice(0, 60))} cannot be read`);
  const take = (kind) => {
    if (tokens[next]?.kind !== kind) throw wrong();
    return tokens[next++].value;
  };
  const close = { "{": "}", "[": "]" }[tokens[0]?.kind];
  if (!close) throw wrong();
  next = 1;
  const names = [];
  while (tokens[next]?.kind !== close) {
    let index = names.length;
    if (close === "}") {
      const key = take(tokens[next]?.kind === "text" ? "text" : "number"); // JSON knows keys of text alone
      if (!/^[0-9]{1,5}$/.test(key)) throw wrong();
      index = Number(key);
      take(":");
    }
    names[index] = take("text");
    if (tokens[next]?.kind === ",") next += 1;
    else if (tokens[next]?.kind !== close) throw wrong();
  }
  if (next !== tokens.length - 1) throw wrong();
  if (names.length === 0 || names.includes(undefined)) throw wrong();
  return names;
}

function tokenise(text) {
  const tokens = [];
  const end = text.trimEnd().length;
  let position = 0;
  while (position < end) {
    TOKEN.lastIndex = position;
    const match = TOKEN.exec(text);
    if (!match) return [];
    const [, mark, number, quoted] = match;
    if (mark) tokens.push({ kind: mark });
    else if (number) tokens.push({ kind: "number", value: number });
    else tokens.push({ kind: "text", value: unescaped(quoted.slice(1, -1)) });
    position = TOKEN.lastIndex;
  }
  return tokens;
}

function unescaped(text) {
  return text.replace(ESCAPE, (whole, hex2, hex4, hex8, other) => {
    if (other) return CONTROLS[other] ?? other;
    const code = parseInt(hex2 ?? hex4 ?? hex8, 16);
    return code > 0xffff ? String.fromCodePoint(Math.min(code, 0x10ffff)) : String.fromCharCode(code);
  });
}
