/**
 * Builds the page and serves it on this machine.
 *
 *   NAGAYA_RUNS_ADDRESS=… NAGAYA_ARTIFACTS_ADDRESS=… npm run example:browser -- [PORT]
 */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HERE = fileURLToPath(new URL("../../../examples/browser/", import.meta.url));
const TYPES = {
  html: "text/html",
  css: "text/css",
  js: "text/javascript",
  json: "application/json",
};

const { outputFiles } = await build({
  entryPoints: [`${HERE}page.ts`],
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  write: false,
});
const config = {
  runs: process.env.NAGAYA_RUNS_ADDRESS ?? "",
  artifacts: process.env.NAGAYA_ARTIFACTS_ADDRESS ?? "",
};
const files = new Map<string, Uint8Array>([
  ["/", await readFile(`${HERE}index.html`)],
  ["/page.css", await readFile(`${HERE}page.css`)],
  ["/page.js", outputFiles[0]?.contents ?? new Uint8Array()],
  ["/config.json", new TextEncoder().encode(JSON.stringify(config))],
]);

const server = createServer((request, response) => {
  const path = request.url ?? "/";
  const content = files.get(path);
  const kind = path === "/" ? "html" : path.slice(path.lastIndexOf(".") + 1);
  const type = kind in TYPES ? TYPES[kind as keyof typeof TYPES] : "text/plain";
  response.writeHead(content ? 200 : 404, { "content-type": `${type}; charset=utf-8` });
  response.end(content);
});
server.listen(Number(process.argv[2] ?? 8080), "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  console.log(`http://127.0.0.1:${port}/`);
});
