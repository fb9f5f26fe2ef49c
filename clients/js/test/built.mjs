// The client as the tests import it: one module for each source file, built when a source is newer.

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL("..", import.meta.url));

function isStale(folder) {
  const probe = `${folder}/index.js`;
  if (!existsSync(probe)) return true;
  const { mtimeMs } = statSync(probe);
  return readdirSync(`${here}src`).some((file) => statSync(`${here}src/${file}`).mtimeMs > mtimeMs);
}

/** The module `name` of the client; with the fault `planted`, if there is one. */
export async function built(name, planted = "") {
  const folder = `${here}.build${planted && `-${planted}`}`;
  if (isStale(folder)) {
    const env = { ...process.env, TICKWIRE_PLANTED: planted };
    execFileSync(process.execPath, ["build.mjs", "--tests"], { cwd: here, env });
  }
  return import(`${folder}/${name}.js`);
}
