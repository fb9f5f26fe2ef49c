// Prints what AsyncAPI's own parser objects to in a document, one line for each, and fails if there is anything.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const modules = process.env.TICKWIRE_TEST_NODE_MODULES ?? `${import.meta.dirname}/node_modules`;
const { Parser } = createRequire(`${modules}/`)('@asyncapi/parser');

const [, , source] = process.argv;
const { document, diagnostics } = await new Parser().parse(readFileSync(source, 'utf8'), { source });
for (const { code, path, message } of diagnostics) console.log(`${code} ${path.join('.')}: ${message}`);
if (document === undefined || diagnostics.length > 0) process.exitCode = 1;
