// The package as it is published: packed, installed in a clean folder, and used from there.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { Tickwire, tellSkipped } from "./tickwire.mjs";

const here = fileURLToPath(new URL("..", import.meta.url));
const ws = pathToFileURL(fileURLToPath(import.meta.resolve("ws"))).href;

describe("the packed package", () => {
  let folder;
  let broker;
  const run = (command, ...args) =>
    execFileSync(command, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "tickwire-pack-"));
    writeFileSync(join(folder, "package.json"), '{"name":"clean","private":true}');
    // The build is that of `npm test`; the scripts of the package would make it again.
    const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--pack-destination", folder], {
      cwd: here,
      encoding: "utf8",
    });
    const described = JSON.parse(packed);
    const [{ filename }] = Array.isArray(described) ? described : Object.values(described);
    run("npm", "install", "--offline", "--no-audit", "--no-fund", `./${filename}`);
    broker = await Tickwire.start({ args: ["--anonymous-publish", ">"] });
  });
  after(async () => {
    await broker?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  it("has what is published, and nothing else", () => {
    const top = readdirSync(join(folder, "node_modules", "@tickwire", "client")).sort();
    assert.deepEqual(top, ["README.md", "dist", "package.json"]);
    assert.deepEqual(
      readdirSync(join(folder, "node_modules")).filter((name) => !name.startsWith(".")),
      ["@tickwire"],
    );
  });

  const program = `
    const client = connect(process.argv[2], { WebSocket, codec: msgpack });
    const trades = client.subscribe("trade.packed");
    const done = (async () => {
      for await (const event of trades) if (event.type === "message") return event.data;
    })();
    trades.granted
      .then(() => client.publish("trade.packed", { price: "1.5" }))
      .then(() => done)
      .then((data) => { console.log(JSON.stringify(data)); client.close(); });
  `;

  it("works as an ES module", () => {
    writeFileSync(
      join(folder, "esm.mjs"),
      `import WebSocket from ${JSON.stringify(ws)};
       import { connect } from "@tickwire/client";
       import { msgpack } from "@tickwire/client/msgpack";
       ${program}`,
    );
    assert.equal(run("node", "esm.mjs", broker.url).trim(), '{"price":"1.5"}');
  });

  it("works as CommonJS", () => {
    writeFileSync(
      join(folder, "cjs.cjs"),
      `const { connect } = require("@tickwire/client");
       const { msgpack } = require("@tickwire/client/msgpack");
       import(${JSON.stringify(ws)}).then(({ default: WebSocket }) => { ${program} });`,
    );
    assert.equal(run("node", "cjs.cjs", broker.url).trim().split("\n").at(-1), '{"price":"1.5"}');
  });

  it("works with the WebSocket of Node itself, where there is one", () => {
    writeFileSync(
      join(folder, "own.mjs"),
      `import { connect } from "@tickwire/client";
       import { msgpack } from "@tickwire/client/msgpack";
       const { WebSocket } = globalThis;
       ${program}`,
    );
    const flags = process.version.startsWith("v20.") ? ["--experimental-websocket"] : [];
    assert.equal(run("node", ...flags, "own.mjs", broker.url).trim(), '{"price":"1.5"}');
  });

  // Other runtimes, where the machine has them: in the PATH, or named by the environment.
  for (const [name, flags] of [
    ["bun", []],
    ["deno", ["run", "--no-prompt", "--allow-net", "--node-modules-dir=manual"]],
  ]) {
    const found = process.env[`${name.toUpperCase()}_BIN`] ?? name;
    const missing = spawnSync(found, ["--version"]).status === 0 ? false : `the machine has no ${name}`;
    if (missing) tellSkipped(`clients/js in ${name}`, missing);
    it(`works in ${name}`, { skip: missing }, () => {
      writeFileSync(
        join(folder, `${name}.mjs`),
        `import { connect } from "@tickwire/client";
         import { msgpack } from "@tickwire/client/msgpack";
         const { WebSocket } = globalThis;
         ${program.replace("process.argv[2]", JSON.stringify(broker.url))}`,
      );
      assert.equal(run(found, ...flags, `${name}.mjs`).trim(), '{"price":"1.5"}');
    });
  }

  it("has types that strict TypeScript takes, in both module systems and with a bundler", () => {
    const tsc = join(here, "node_modules", ".bin", "tsc");
    copyFileSync(join(here, "test", "types.ts"), join(folder, "types.mts"));
    copyFileSync(join(here, "test", "types.ts"), join(folder, "types.cts"));
    const strict = ["--noEmit", "--strict", "--lib", "es2022,dom", "--types", "", "--skipLibCheck", "false"];
    run(tsc, ...strict, "--target", "es2022", "--module", "nodenext", "types.mts", "types.cts");
    run(tsc, ...strict, "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "types.mts");
  });
});
