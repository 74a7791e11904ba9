// Many functions, each compiled at its first call, each of which keeps a buffer outside of JavaScript's own heap. The
// protocol is that of leaker.h.
'use strict';
const fs = require('fs');

const COUNT = Number(process.argv[2]);
const SIZE = 1048583;
const kept = new Array(COUNT);

function leakBuffer(index) {
  kept[index] = Buffer.allocUnsafeSlow(SIZE);
}

// Enough of it to fill the range of code page by page.
function compiled(index) {
  const lines = Array.from({ length: 499 }, (_, line) => `sum += values[${line}] * ${index + line};`);
  return new Function('leak', 'values', `let sum = 0; ${lines.join(' ')} leak(${index}); return sum;`);
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
const values = new Array(499).fill(1);
for (let i = 0; i < COUNT; i++) compiled(i)(leakBuffer, values);
say(JSON.stringify({ site: 'leakBuffer', inuse_bytes: COUNT * SIZE, inuse_objects: COUNT }));
say('done');
hear();
