// `npm run check`: everything that is checked without a broker. The first failure ends it.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** The most that the browser bundle may have, in bytes after gzip. */
const BUNDLE_MAX = 22 * 1024;

const here = fileURLToPath(new URL(".", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tickwire-check-"));

function run(name, command, ...args) {
  console.log(`\n${name}`);
  execFileSync(command, args, { cwd: here, stdio: "inherit" });
}

try {
  const bin = (name) => join(here, "node_modules", ".bin", name);
  run("format and lint", bin("biome"), "ci", "--colors=off", ".");
  run("types", bin("tsc"), "-p", ".", "--noEmit");
  run("build", process.execPath, "build.mjs");
  run("pack", "npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", folder);
  const tarball = join(folder, readdirSync(folder)[0]);
  run("publint", bin("publint"), "--strict", tarball);
  // The bundle is for script elements and has no types. Resolution without "exports", node10, knows no entries.
  run("are the types wrong?", bin("attw"), tarball, "--profile", "node16", "--exclude-entrypoints", "tickwire.min.js");
  const bytes = gzipSync(readFileSync(join(here, "dist", "tickwire.min.js")), { level: 9 }).length;
  console.log(`\nsize\nthe browser bundle has ${bytes} bytes after gzip; at most ${BUNDLE_MAX} are allowed`);
  if (bytes > BUNDLE_MAX) throw new Error("the browser bundle is too large");
  const { dependencies = {} } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
  if (Object.keys(dependencies).length > 0) throw new Error("the package has dependencies at run time");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
