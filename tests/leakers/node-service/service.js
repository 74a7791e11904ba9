// Takes messages over a WebSocket and answers each from the database, by a connection of its own for each:
//   service.js DATABASE_PORT leaky|fixed
// The leaky one forgets the connection of an audit. Prints its port, then lives until its input ends.
'use strict';
const net = require('net');
const { Client } = require('pg');
const { WebSocketServer } = require('ws');

const [port, variant] = [Number(process.argv[2]), process.argv[3]];

// Its name is known beforehand, so that connecting is no matter of a later turn: what asks for it is still on the stack.
class DatabaseSocket extends net.Socket {
  connect(to) {
    const lookup = (host, options, found) => found(null, '127.0.0.1', 4);
    return super.connect({ port: to, host: 'database', family: 4, lookup });
  }
}

function connect() {
  const client = new Client({ host: 'database', port, user: 'postgres', database: 'postgres', ssl: false,
                              stream: () => new DatabaseSocket() });
  client.on('error', (error) => fail(error));
  return { client, connected: client.connect() };
}

function readRecord() {
  const { client, connected } = connect();
  return connected.then(() => client.query('SELECT 1')).finally(() => client.end());
}

function writeRecord() {
  const { client, connected } = connect();
  return connected.then(() => client.query('SELECT 2')).finally(() => client.end());
}

function auditRecord() {
  const { client, connected } = connect();
  const answer = connected.then(() => client.query('SELECT 3'));
  return variant === 'leaky' ? answer : answer.finally(() => client.end());
}

const kinds = { read: readRecord, write: writeRecord, audit: auditRecord };

function onMessage(socket, data) {
  kinds[data.toString()]().then((result) => socket.send(`${result.rows.length}`), fail);
}

function fail(error) {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: 0 }, () => {
  process.stdout.write(`listening ${server.address().port}\n`);
});
server.on('connection', (socket) => socket.on('message', (data) => onMessage(socket, data)));
process.stdin.on('end', () => process.exit(0)).resume();
