// V8 between a program and malloc: C++ called from JavaScript called from C++. What JavaScript itself allocates is V8's
// own heap; buffers, contexts, regular expressions and scripts are malloc's.
'use strict';

const fs = require('fs');
const vm = require('vm');
const zlib = require('zlib');

// Blocks until a line has come. The bytes come one by one, so that nothing of the next line is taken.
function hear() {
  const byte = Buffer.alloc(1);
  while (fs.readSync(0, byte, 0, 1) === 1 && byte[0] !== 10);
}

function recursion(depth) {
  return depth === 0 ? Buffer.allocUnsafeSlow(10007) : [recursion(depth - 1), new ArrayBuffer(1009 + depth)];
}

function work() {
  const kept = [];
  for (let i = 0; i < 7; i++) {
    kept.push(recursion(7));
    kept.push([3, 1, 2].sort((a, b) => { kept.push(Buffer.alloc(5003)); return a - b; }));
    kept.push('abc'.replace(/b/, () => Buffer.alloc(5009).length));
    kept.push(JSON.parse('[1,2]', (key, value) => { kept.push(new ArrayBuffer(2003)); return value; }));
    kept.push(vm.runInNewContext('new ArrayBuffer(3001)'));
    kept.push(zlib.gzipSync(Buffer.alloc(20011)));
    kept.push(fs.readFileSync(__filename));
    kept.push(fs.readdirSync('/'));
    try {
      throw new Error(String(Buffer.alloc(4001)));
    } catch (error) {
      kept.push(error.stack);
    }
  }
  return kept;
}

fs.writeSync(1, 'ready\n');
hear();
const kept = work();
fs.writeSync(1, 'done\n');
hear();
process.exit(kept.length > 0 ? 0 : 1);
