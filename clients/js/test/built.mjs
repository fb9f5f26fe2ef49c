// The client as the tests import it: one module for each source file, built once for each state of the sources.

import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL("..", import.meta.url));
const sources = readdirSync(`${here}src`)
  .filter((file) => !file.endsWith(".page.ts"))
  .map((file) => `${here}src/${file}`);

/** The folder of the client's modules; with the fault `planted`, if there is one. */
export async function folderOf(planted = "") {
  const hash = createHash("sha256").update(planted);
  for (const source of sources) hash.update(`${source}\n`).update(readFileSync(source));
  const folder = `${here}.build-${hash.digest("hex").slice(0, 16)}`;
  if (existsSync(folder)) return folder;
  // Several programs may begin at once: each builds for itself, and the first gives its name to the result.
  const own = mkdtempSync(`${here}.build-`);
  await build({
    absWorkingDir: here,
    entryPoints: sources,
    outdir: own,
    format: "esm",
    target: "es2022",
    sourcemap: true,
    logLevel: "warning",
    define: { PLANTED: JSON.stringify(planted), PAGE: "false" },
  });
  try {
    renameSync(own, folder);
  } catch (error) {
    rmSync(own, { recursive: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

/** The module `name` of the client; with the fault `planted`, if there is one. */
export async function built(name, planted = "") {
  return import(`${await folderOf(planted)}/${name}.js`);
}
