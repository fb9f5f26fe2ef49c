// `npm run check`: everything that is checked without a broker. The first failure ends it.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** The most that each file for pages may have, in bytes after gzip. A page needs the first; the others add to it. */
const MAX = {
  "tickwire.min.js": 15.25 * 1024,
  "tickwire-books.min.js": 2.5 * 1024,
  "tickwire-sse.min.js": 4 * 1024,
};

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
  // The files for script elements have no types. Resolution without "exports", node10, knows no entries.
  run(
    "are the types wrong?",
    bin("attw"),
    tarball,
    "--profile",
    "node16",
    "--exclude-entrypoints",
    ...Object.keys(MAX),
  );
  console.log("\nsize");
  for (const [file, max] of Object.entries(MAX)) {
    const code = readFileSync(join(here, "dist", file));
    const bytes = gzipSync(code, { level: 9 }).length;
    console.log(`${file}: ${code.length} bytes, ${bytes} after gzip; at most ${max} are allowed`);
    if (bytes > max) throw new Error(`${file} is too large`);
  }
  const { dependencies = {} } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));
  if (Object.keys(dependencies).length > 0) throw new Error("the package has dependencies at run time");
} finally {
  rmSync(folder, { recursive: true, force: true });
}
