// A server in its steady state: a cache of 200 pages that throws out the oldest, and the garbage of each request, which is
// collected now and then.
//
// expect: makePage = bounded|steady|churn
// expect: readBody = churn|steady|bounded
'use strict';
const fs = require('fs');
const pages = new Map();
let begun;
let count = 0;
let seed = Number(process.argv[2] || 1);

function random(n) {
  seed = (seed * 48271) % 2147483647;
  return seed % n;
}

function makePage() {
  return Buffer.alloc(6000, 1);
}

function readBody() {
  return Buffer.alloc(16384, 2);
}

function serve() {
  while (count < (Date.now() - begun) / 20) {
    count++;
    const key = random(1000);
    readBody();
    if (!pages.has(key)) pages.set(key, makePage());
    if (pages.size > 200) pages.delete(pages.keys().next().value);
    JSON.parse(JSON.stringify(Array.from({ length: 2000 }, (_, i) => ({ i, text: `row ${i}` }))));
  }
}

fs.writeSync(1, 'ready\n');
fs.readSync(0, Buffer.alloc(64));
begun = Date.now();
setInterval(serve, 20);
