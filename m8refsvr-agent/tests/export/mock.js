// Starts @elastic/mockotlpserver on the ports that are wanted, printing each request as a line of JSON:
// node mock.js FOLDER-OF-THE-PACKAGE GRPC-PORT HTTP-PORT

'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const zlib = require('node:zlib');

const [folder, grpcPort, httpPort] = process.argv.slice(2);

// Over HTTP it reads no compressed bodies.
const { createServer } = http;
http.createServer = (answer) =>
  createServer((request, response) => {
    if (request.headers['content-encoding'] !== 'gzip') {
      answer(request, response);
      return;
    }
    const { headers, method, url } = request;
    answer(Object.assign(request.pipe(zlib.createGunzip()), { headers, method, url }), response);
  });

// Its copy of the specification is older than names of events.
const { readFileSync } = fs;
fs.readFileSync = (file, ...options) => {
  const content = readFileSync(file, ...options);
  return String(file).endsWith('/logs/v1/logs.proto')
    ? String(content).replace(/(bytes span_id = 10;)/, '$1\n  string event_name = 12;')
    : content;
};

const { MockOtlpServer } = require(folder);
const { JSONPrinter } = require(path.join(folder, 'lib/printers.js'));
const { createLogger } = require(path.join(folder, 'lib/luggite.js'));

const log = createLogger({ name: 'mockotlpserver' });
new JSONPrinter(log).subscribe();
new MockOtlpServer({
  log,
  services: ['grpc', 'http'],
  grpcHostname: '127.0.0.1',
  grpcPort: Number(grpcPort),
  httpHostname: '127.0.0.1',
  httpPort: Number(httpPort),
}).start();
