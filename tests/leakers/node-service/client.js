// Sends messages to service.js, each after the answer to the last: client.js PORT READS WRITES AUDITS
'use strict';
const { WebSocket } = require('ws');

const [port, ...counts] = process.argv.slice(2).map(Number);
const left = { read: counts[0], write: counts[1], audit: counts[2] };

// In turn, as long as there are any of a kind.
function* messages() {
  while (left.read + left.write + left.audit > 0) {
    for (const kind of Object.keys(left)) {
      if (left[kind]-- > 0) yield kind;
      else left[kind] = 0;
    }
  }
}

const next = messages();
const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
function send() {
  const { done, value } = next.next();
  if (done) socket.close();
  else socket.send(value);
}
socket.on('open', send);
socket.on('message', (data) => {
  if (data.toString() !== '1') throw new Error(`the answer is ${data}`);
  send();
});
