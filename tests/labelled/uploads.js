// A server that keeps the first part of every upload in a map from which nothing is deleted.
//
// expect: keepUpload = leaking
// expect: remember = any
// rate: keepUpload = 163840
'use strict';
const fs = require('fs');
const uploads = new Map();
let begun;
let count = 0;

function keepUpload() {
  return Buffer.alloc(8192, 1);
}

function remember(upload) {
  uploads.set(uploads.size, upload);
}

function serve() {
  while (count < (Date.now() - begun) / 50) {
    count++;
    remember(keepUpload());
    JSON.parse(JSON.stringify(Array.from({ length: 1000 }, (_, i) => ({ i }))));
  }
}

fs.writeSync(1, 'ready\n');
fs.readSync(0, Buffer.alloc(64));
begun = Date.now();
setInterval(serve, 25);
