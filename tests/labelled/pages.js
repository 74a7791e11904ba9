// A server in its steady state: a cache of 200 pages that throws out the oldest, and the garbage of each request. What is
// thrown out is old by then, and stays until the collector makes a full round, for which there may be no reason within a
// minute: then more and more is outstanding, and whether that is a leak is not to be known.
//
// expect: makePage = bounded|steady|churn|growing
// expect: readBody = churn|steady|bounded
// before: 10
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
  return Buffer.alloc(20000, 1);
}

function readBody() {
  return Buffer.alloc(131072, 2);
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
for (let i = 0; i < 20000; i++) makePage();
begun = Date.now();
setInterval(serve, 20);
