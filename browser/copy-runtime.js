// npm run vendor: copies what the page needs of ONNX Runtime Web from node_modules/ to vendor/, so that the page is
// served from this folder alone.

import { copyFileSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FILES = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];

const packageFolder = new URL("./node_modules/onnxruntime-web/", import.meta.url);
const vendor = new URL("./vendor/", import.meta.url);

try {
  const { version } = JSON.parse(readFileSync(new URL("package.json", packageFolder), "utf8"));
  mkdirSync(vendor, { recursive: true });
  for (const name of FILES) {
    const target = new URL(name, vendor);
    copyFileSync(new URL(`dist/${name}`, packageFolder), target);
    console.log(`vendor/${name}  ${(statSync(target).size / 1e6).toFixed(2)} MB`);
  }
  console.log(`ONNX Runtime Web ${version} is in ${fileURLToPath(vendor)}`);
} catch (error) {
  const hint = error.code === "ENOENT" ? "; run npm ci first" : "";
  console.error(`error: ${error.message}${hint}`);
  process.exitCode = 1;
}
