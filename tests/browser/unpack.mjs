// Unpacks what @sparticuz/chromium carries: node unpack.mjs FROM TO. The archives are for tar, which Python has.

import { createReadStream, createWriteStream } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";

const [from, to] = process.argv.slice(2);
for (const name of ["chromium", "al2023.tar", "fonts.tar"]) {
  const mode = name === "chromium" ? 0o755 : 0o644;
  const target = createWriteStream(join(to, name), { mode });
  await pipeline(createReadStream(join(from, `${name}.br`)), createBrotliDecompress(), target);
}
