// Builds the page into the folder that the server crate embeds, or into the folder that is given. The same sources and
// the same package-lock.json always give the same bytes.
import { copyFile, mkdir, readFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../../crates/server/console"));

/** The licences of what the page contains, which its copies must contain too. */
async function licences() {
  const texts = ["preact", "uplot"].map(async (name) => {
    const text = await readFile(join(here, "node_modules", name, "LICENSE"), "utf8");
    return `${name}\n${text.replaceAll("\r", "").trim()}`;
  });
  const apache = "lightweight-charts, fancy-canvas\nCopyright TradingView, Inc.; Apache License 2.0 and MIT";
  return `/*!\n${[...(await Promise.all(texts)), apache].join("\n\n")}\n*/`;
}

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: { console: "src/main.tsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "eof",
  footer: { js: await licences() },
  jsx: "automatic",
  jsxImportSource: "preact",
  define: { "process.env.NODE_ENV": '"production"' },
  logLevel: "warning",
});
await copyFile(join(here, "src/index.html"), join(out, "index.html"));
