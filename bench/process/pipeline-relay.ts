// The least that a relay in Node costs: accepts on a Unix socket, connects on, `pipeline` both ways. argv[2]: PipelineRelayOptions.
import { connect, createServer } from 'node:net';
import { pipeline } from 'node:stream';
import { connect as connectTls, createSecureContext } from 'node:tls';

export interface PipelineRelayOptions {
  readonly listen: string;
  readonly to: { readonly path: string } | { readonly port: number; readonly ca: string };
}

const { listen, to } = JSON.parse(process.argv[2] ?? '{}') as PipelineRelayOptions;
const secureContext = 'ca' in to ? createSecureContext({ ca: to.ca }) : undefined;
const done = (): void => undefined; // a broken stream is its client's to notice

const server = createServer({ allowHalfOpen: true }, (near) => {
  if ('path' in to) {
    const far = connect({ path: to.path, allowHalfOpen: true });
    pipeline(near, far, done);
    pipeline(far, near, done);
    return;
  }
  const tcp = connect({ host: '127.0.0.1', port: to.port, allowHalfOpen: true, noDelay: true });
  const far = connectTls({ socket: tcp, servername: 'localhost', ...(secureContext && { secureContext }) });
  far.on('error', () => near.destroy());
  // Before `secureConnect` two pipelines on a TLS socket warn about listeners.
  far.once('secureConnect', () => {
    pipeline(near, far, done);
    pipeline(far, near, done);
  });
});
server.listen(listen, () => process.stdout.write('{}\n'));
