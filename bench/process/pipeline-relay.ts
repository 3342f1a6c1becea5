// The least that a relay in Node costs: accepts on Unix sockets, connects to the far end, and uses `pipeline` in both directions. argv[2]: PipelineRelayOptions.
import { connect, createServer } from 'node:net';
import { pipeline } from 'node:stream';
import { connect as connectTls, createSecureContext } from 'node:tls';

interface Way {
  readonly listen: string;
  readonly to: { readonly path: string } | { readonly port: number; readonly ca: string };
}

export interface PipelineRelayOptions {
  readonly ways: readonly Way[];
}

const done = (): void => undefined; // the client notices a broken stream itself

function relay({ listen, to }: Way): Promise<void> {
  const secureContext = 'ca' in to ? createSecureContext({ ca: to.ca }) : undefined;
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
    // Before `secureConnect`, two pipelines on a TLS socket cause a warning about too many listeners.
    far.once('secureConnect', () => {
      pipeline(near, far, done);
      pipeline(far, near, done);
    });
  });
  return new Promise((resolve) => {
    server.listen(listen, resolve);
  });
}

const { ways } = JSON.parse(process.argv[2] ?? '{"ways":[]}') as PipelineRelayOptions;
await Promise.all(ways.map(relay));
process.stdout.write('{}\n');
