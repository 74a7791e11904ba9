// What Node services do: documents that are read, written and compressed. The protocol is that of work.c; an operation is
// a document. The planted leaks are in the addon whose path is the argument.
'use strict';
const fs = require('fs');
const zlib = require('zlib');

const addon = { exports: {} };
process.dlopen(addon, process.argv[2]);
const plantedUntil = addon.exports;
const items = Array.from({ length: 30 }, (_, i) => ({ id: i, name: `item ${i}`, text: 'x'.repeat((97 * i) % 1500) }));
const text = JSON.stringify(items);

function now() {
  return Number(process.hrtime.bigint());
}

function readLine() {
  const byte = Buffer.alloc(1);
  let line = '';
  while (fs.readSync(0, byte) === 1 && byte[0] !== 10) line += byte.toString();
  return line;
}

// Nobody but the main thread is asked anything, so waiting for a line stops nothing.
fs.writeSync(1, 'ready\n');
const [warmUp, seconds] = readLine().split(' ').map(Number);
const begun = now();
const counted = begun + warmUp * 1e9;
const end = counted + seconds * 1e9;
let [first, operations, time] = [0, 0, begun];
while (time < end) {
  plantedUntil((time - begun) / (end - begun));
  zlib.deflateSync(Buffer.from(JSON.stringify(JSON.parse(text))));
  operations += 1;
  time = now();
  if (!first && time >= counted) [first, operations] = [time, 0];
}
plantedUntil(1);
fs.writeSync(1, `${operations} ${Math.round(time - first)}\n`);
readLine();
