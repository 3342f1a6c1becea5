// A gateway that takes every connection and never says a byte.
import { createServer, type AddressInfo } from 'node:net';

export interface MuteGatewayReady {
  readonly port: number;
}

const server = createServer((socket) => {
  socket.on('error', () => undefined);
  socket.pause();
});
server.listen(0, '127.0.0.1', () => {
  const ready: MuteGatewayReady = { port: (server.address() as AddressInfo).port };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
});
