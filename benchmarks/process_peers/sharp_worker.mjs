// sharp's side of benchmarks/process.py: a line of JSON in, a line of JSON out; see contestant.py.
//
// What sharp's manual says for a web server: the whole input at once, one pipeline, shrink-on-load as it comes; mozjpeg's
// slow options off, as they are unless asked for. One thread, no cache of earlier operations.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const sharp = createRequire(process.argv[2] + '/package.json')('sharp');
sharp.concurrency(1);
sharp.cache(false);

const encode = {
  jpeg: (image, { quality, optimize }) =>
    image.jpeg({ quality, chromaSubsampling: quality > 90 ? '4:4:4' : '4:2:0', optimiseCoding: optimize }),
  webp: (image, { quality }) => image.webp({ quality }),
  avif: (image, { quality }) => image.avif({ quality, chromaSubsampling: quality > 90 ? '4:4:4' : '4:2:0' }),
  png: (image) => image.png(),
};

function made(data, preset) {
  const { width, height, fit, format, background, enlarges } = preset;
  let image = sharp(data, { autoOrient: true }).resize({
    width,
    height: height || undefined,
    fit: fit === 'cover' ? 'cover' : 'inside',
    withoutEnlargement: fit !== 'cover' && !enlarges,
  });
  if (format === 'jpeg') image = image.flatten({ background });
  return encode[format](image, preset).toBuffer();
}

function resident(field) {
  const line = readFileSync('/proc/self/status', 'utf8').split('\n').find((each) => each.startsWith(field));
  return Number(line.split(/\s+/)[1]) * 1024;
}

let last = { path: undefined, data: undefined };

function source(path) {
  if (last.path !== path) last = { path, data: readFileSync(path) };
  return last.data;
}

async function answer({ op, path, preset, save }) {
  const data = source(path);
  if (op === 'peak') {
    writeFileSync('/proc/self/clear_refs', '5');
    const before = resident('VmRSS');
    await made(data, preset);
    return { peak: resident('VmHWM') - before };
  }
  const cpu = process.cpuUsage();
  const start = performance.now();
  const result = await made(data, preset);
  const wall = (performance.now() - start) / 1e3;
  const { user, system } = process.cpuUsage(cpu);
  if (save) writeFileSync(save, result);
  return { wall, cpu: (user + system) / 1e6, bytes: result.length };
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply;
  try {
    reply = await answer(JSON.parse(line));
  } catch (error) {
    reply = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(reply) + '\n');
}
