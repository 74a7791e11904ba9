// A server that keeps the first part of every upload in a map from which nothing is deleted. It has been up for a while:
// its code is compiled.
//
// expect: keepUpload = leaking
// expect: remember = any
// rate: keepUpload = 163840
// before: 10
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

function handle(i) {
  remember(keepUpload());
  return JSON.parse(JSON.stringify(Array.from({ length: 50 }, () => ({ i }))));
}

function serve() {
  while (count < (Date.now() - begun) / 50) {
    count++;
    handle(count);
  }
}

fs.writeSync(1, 'ready\n');
fs.readSync(0, Buffer.alloc(64));
for (let i = 0; i < 20000; i++) handle(i);
uploads.clear();
begun = Date.now();
setInterval(serve, 25);
// What a full heap does every few minutes.
setInterval(() => global.gc(), 6000);
