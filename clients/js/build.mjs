// Builds the package: `node build.mjs`.
//
// dist/esm and dist/cjs have one file for each source file, so that both entries share their classes. dist/tickwire.min.js is the
// browser bundle, which defines the global `tickwire`. It loads dist/tickwire-sse.min.js where WebSocket is blocked, and
// dist/tickwire-books.min.js adds order books to it.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const here = fileURLToPath(new URL(".", import.meta.url));
const { version } = JSON.parse(readFileSync(`${here}package.json`, "utf8"));
/** Each module; one of the name `x.page.ts` takes the place of `x.ts` in the browser bundle. */
const sources = readdirSync(`${here}src`)
  .filter((file) => !file.endsWith(".page.ts"))
  .map((file) => `${here}src/${file}`);
const dist = `${here}dist`;
const common = {
  absWorkingDir: here,
  target: "es2022",
  sourcemap: true,
  sourcesContent: true,
  logLevel: "warning",
  define: { PLANTED: '""', PAGE: "false" },
};

/**
 * The names that programs and the wire know: the members of the public types. The minifier keeps them, and those of the platform,
 * and shortens the others.
 */
function publicNames() {
  const read = (name) => readFileSync(`${dist}/esm/${name}.d.ts`, "utf8");
  const modules = [...read("index").matchAll(/from "\.\/(\w+)\.js"/g)].map(([, name]) => name);
  const declared = modules.map((name) => read(name).replace(/\/\*[\s\S]*?\*\/|^ *private .*$/gm, ""));
  return [...new Set(declared.join("\n").match(/[A-Za-z]\w*/g))];
}

/**
 * Marks the private members of a module's classes. Many have the name of something public, such as `topics`; marked, they have
 * not, and the minifier shortens them.
 */
function markPrivate(source) {
  const before = "^  private (?:readonly |async |get )*";
  const names = [...source.matchAll(new RegExp(`${before}(\\w+)`, "gm"))].map(([, name]) => name);
  return names.reduce((text, name) => {
    const isPublic = new RegExp(`^  (?:readonly |async |get )*${name}\\b *[(:=!?;].*[^,]$`, "m").test(text);
    if (isPublic) throw new Error(`a class has a private member ${name}, and another class of its module a public one`);
    return text.replace(new RegExp(`(?<=\\bthis\\.|${before})${name}\\b`, "gm"), `$$$$${name}`);
  }, source);
}

const forPages = {
  name: "modules for pages",
  setup(plugin) {
    plugin.onResolve({ filter: /\/parts\.js$/ }, () => ({ path: `${here}src/parts.page.ts` }));
    plugin.onLoad({ filter: /\/src\/\w+\.ts$/ }, ({ path }) => ({
      contents: markPrivate(readFileSync(path, "utf8")),
      loader: "ts",
    }));
  },
};

/** Makes `entry` a minified file for pages. All are made with the same `names`, so they share their short ones. */
async function bundle(format, entry, file, names) {
  const { outputFiles } = await build({
    ...common,
    define: {
      PLANTED: '""',
      PAGE: "true",
      VERSION: JSON.stringify(version),
      // This is as exact, and shorter.
      "Number.POSITIVE_INFINITY": "Infinity",
    },
    stdin: { contents: entry, resolveDir: `${here}src`, sourcefile: "page.js" },
    outfile: `${dist}/${file}`,
    bundle: true,
    write: false,
    minifySyntax: true,
    format,
    platform: "browser",
    sourcemap: "external",
    plugins: [forPages],
    // An assignment is shorter than a declared field.
    tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } },
  });
  const [map, code] = [/\.map$/, /\.js$/].map((kind) => outputFiles.find(({ path }) => kind.test(path)).text);
  const minified = await minify(code, {
    ecma: 2022,
    module: format === "esm",
    toplevel: true,
    nameCache: names,
    compress: { passes: 3, lhs_constants: false, ecma: 2022, unsafe_arrows: true, pure_getters: true },
    mangle: { properties: { reserved: ["tickwire", ...publicNames()] } },
    format: { wrap_func_args: false },
    sourceMap: { content: map, filename: file, url: `${file}.map`, includeSources: true },
  });
  writeFileSync(`${dist}/${file}`, minified.code);
  writeFileSync(`${dist}/${file}.map`, minified.map);
}

rmSync(dist, { recursive: true, force: true });
await build({ ...common, entryPoints: sources, outdir: `${dist}/esm`, format: "esm" });
await build({ ...common, entryPoints: sources, outdir: `${dist}/cjs`, format: "cjs" });
const tsc = `${here}node_modules/.bin/tsc`;
for (const kind of ["esm", "cjs"]) {
  execFileSync(tsc, ["-p", here, "--emitDeclarationOnly", "--outDir", `${dist}/${kind}`], { stdio: "inherit" });
}
mkdirSync(`${dist}/cjs`, { recursive: true });
writeFileSync(`${dist}/cjs/package.json`, '{"type":"commonjs"}\n');

// A page has the class Book from the part for order books.
const exported = Object.keys(await import(`${dist}/esm/index.js`)).filter((name) => name !== "Book");
const names = {};
await bundle(
  "iife",
  `import { ${exported} } from "./index.js"; globalThis.tickwire = { ${exported} };`,
  "tickwire.min.js",
  names,
);
await bundle(
  "iife",
  `import { Book, Books, LiveBook } from "./books.js";
   tickwire.Book = Book;
   tickwire["books ${version}"] = { Books, LiveBook };`,
  "tickwire-books.min.js",
  names,
);
await bundle("esm", 'export { open } from "./sse.js";', "tickwire-sse.min.js", names);
