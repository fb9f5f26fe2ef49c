// Builds the package: `node build.mjs`.
//
// dist/esm and dist/cjs have one file for each source file, so that both entries share their classes. dist/tickwire.min.js is the
// browser bundle, which defines the global `tickwire`.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const sources = readdirSync(`${here}src`).map((file) => `${here}src/${file}`);
const common = {
  absWorkingDir: here,
  target: "es2022",
  sourcemap: true,
  sourcesContent: true,
  logLevel: "warning",
  define: { PLANTED: JSON.stringify("") },
};

const dist = `${here}dist`;
rmSync(dist, { recursive: true, force: true });
await build({ ...common, entryPoints: sources, outdir: `${dist}/esm`, format: "esm" });
await build({ ...common, entryPoints: sources, outdir: `${dist}/cjs`, format: "cjs" });
await build({
  ...common,
  entryPoints: [`${here}src/index.ts`],
  outfile: `${dist}/tickwire.min.js`,
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "tickwire",
  platform: "browser",
});
const tsc = `${here}node_modules/.bin/tsc`;
for (const kind of ["esm", "cjs"]) {
  execFileSync(tsc, ["-p", here, "--emitDeclarationOnly", "--outDir", `${dist}/${kind}`], { stdio: "inherit" });
}
mkdirSync(`${dist}/cjs`, { recursive: true });
writeFileSync(`${dist}/cjs/package.json`, '{"type":"commonjs"}\n');
