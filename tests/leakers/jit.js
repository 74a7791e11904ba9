// Keeps buffers outside of JavaScript's own heap. The protocol is that of leaker.h.
'use strict';
const fs = require('fs');

const COUNT = Number(process.argv[2]);
const SIZE = 4099;
const kept = new Array(COUNT);

function leakBuffer(index) {
  kept[index] = Buffer.allocUnsafeSlow(SIZE);
}

function hear() {
  const byte = Buffer.alloc(1);
  do {
    if (fs.readSync(0, byte) !== 1) process.exit(3);
  } while (byte[0] !== 10);
}

function say(line) {
  fs.writeSync(1, `${line}\n`);
}

say('ready');
hear();
for (let i = 0; i < COUNT; i++) leakBuffer(i);
say(JSON.stringify({ site: 'leakBuffer', inuse_bytes: COUNT * SIZE, inuse_objects: COUNT }));
say('done');
hear();
