// The TLS transport: trust, names, time limits, tickets, and proper ends.
import { copyFile, mkdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { createServer as createTcp, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createServer as createHttps } from 'node:https';
import { createServer, type TLSSocket } from 'node:tls';
import t, { type Test } from 'tap';
import { endGracefully } from '../../../daemon/transport/end.ts';
import { SystemRoots } from '../../../daemon/transport/tls/certificates/roots.ts';
import { TlsContexts } from '../../../daemon/transport/tls/tls.ts';
import { SystemTrust } from '../../../daemon/transport/tls/system-trust.ts';
import { HttpClient } from '../../../daemon/target/http/client.ts';
import type { TlsRoute } from '../../../daemon/engine-protocol/plan.ts';
import { freePort, waitFor } from '../../real/index.ts';
import { makeCertificates, noOpenssl, type Certificate, type Certificates } from './certificates.ts';
import { failureOf, readBytes, within } from '../dialling.ts';

/** No system roots, so that only ca_file counts. */
const noRoots = (): SystemRoots => new SystemRoots({ env: { SSL_CERT_FILE: '/dev/null' } });

function portOf(server: { address(): unknown }): number {
  return (server.address() as { port: number }).port;
}

t.test('TLS', { skip: noOpenssl }, async (t) => {
  const made: Certificates = await makeCertificates();
  t.teardown(() => made.remove());
  const both = await made.selfSigned('both', 'DNS:one.test,DNS:two.test');

  /** An echo server that reports the requested name, and ends when its client ends. */
  const gateway = async (t: Test, certificate: Certificate) => {
    const names: (string | false | null)[] = [];
    const server = createServer(
      { cert: certificate.cert, key: certificate.key, allowHalfOpen: true } as object,
      (socket: TLSSocket) => {
        names.push((socket as { servername?: string | false | null }).servername ?? null);
        socket.on('error', () => undefined);
        socket.pipe(socket);
      },
    );
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    return { port: portOf(server), names };
  };
  const route = (port: number, serverName: string, caFile?: string): TlsRoute => ({
    transport: 'tls',
    host: '127.0.0.1',
    port,
    serverName,
    ...(caFile === undefined ? {} : { caFile }),
  });
  const visit = async (contexts: TlsContexts, to: TlsRoute): Promise<boolean> => {
    const { stream } = await contexts.open(to, 'prod', within(5000));
    const reused = (stream as TLSSocket).isSessionReused();
    stream.write('hello');
    await readBytes(stream, 5);
    await endGracefully(stream, 2000);
    return reused;
  };

  t.test('a connection is kept alive by the kernel', { skip: process.platform !== 'linux' }, async (t) => {
    const { port } = await gateway(t, both);
    const contexts = new TlsContexts({ roots: noRoots() });
    const { stream } = await contexts.open(route(port, 'one.test', both.file), 'prod', within(5000));
    const { localPort = 0 } = stream as TLSSocket;
    const local = `0100007F:${localPort.toString(16).toUpperCase().padStart(4, '0')}`;
    // proc_pid_net(5): the timer has the prefix `02` for keep-alive.
    const timer = async (): Promise<string | undefined> =>
      (await readFile('/proc/net/tcp', 'utf8'))
        .split('\n')
        .map((line) => line.trim().split(/\s+/))
        .find(([, address]) => address === local)?.[5];
    await waitFor('the keep-alive timer', async () => (await timer())?.startsWith('02:') === true);
    await endGracefully(stream, 2000);
    t.pass();
  });

  /** Sends a request, goes on sending without reading the answer, then reads it. Returns how much arrived, and with which error. */
  const lateReader = async (t: Test, answer: (socket: TLSSocket, raw: Socket) => void) => {
    const raws: Socket[] = [];
    const server = createServer({ cert: both.cert, key: both.key }, (socket) => {
      socket.on('error', () => undefined);
      const [raw] = raws;
      socket.once('data', () => {
        if (raw !== undefined) answer(socket, raw);
      });
    });
    server.on('connection', (raw: Socket) => raws.push(raw));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    const contexts = new TlsContexts({ roots: noRoots() });
    const to = route(portOf(server), 'one.test', both.file);
    const { stream } = await contexts.open(to, 'prod', within(5000));
    const errors: string[] = [];
    stream.on('error', (error) => errors.push(error.message));
    stream.pause().write('question');
    const [raw] = raws;
    await waitFor('the gateway to be gone', () => raw?.closed === true);
    for (let count = 0; count < 10; count += 1) {
      stream.write('more');
      await pause(10);
    }
    t.equal(stream.destroyed, false);
    let bytes = 0;
    let ended = false;
    stream.on('data', (chunk: Buffer) => (bytes += chunk.length)).on('end', () => (ended = true));
    stream.resume();
    await waitFor('the stream to be closed', () => stream.closed);
    // A broken stream keeps data that was not read yet (splice/flow.ts).
    for (let left: unknown = stream.read(); Buffer.isBuffer(left); left = stream.read()) bytes += left.length;
    return { bytes, ended, errors };
  };

  t.test('a gateway that answers and closes while we still send: all of it is read', async (t) => {
    const read = await lateReader(t, (socket) => {
      socket.write(Buffer.alloc(30_000, 1));
      socket.destroySoon();
    });
    t.strictSame(read, { bytes: 30_000, ended: true, errors: [] });
  });

  t.test('a gateway that is reset meanwhile: what had come, and an error instead of an end', async (t) => {
    const read = await lateReader(t, (socket, raw) => {
      socket.write(Buffer.alloc(30_000, 1), () => {
        setTimeout(() => raw.resetAndDestroy(), 50);
      });
    });
    t.match(read, { bytes: 30_000, ended: false, errors: [/ECONNRESET/] });
  });

  t.test('failures come in the order CA file, TCP, server name, handshake', async (t) => {
    const contexts = new TlsContexts({ roots: noRoots() });
    const closed = await freePort();
    const code = async (to: TlsRoute) => (await failureOf(contexts.open(to, 'prod', within(3000)))).code;
    const file = async (name: string, text: string) => {
      await writeFile(join(made.folder, name), text);
      return join(made.folder, name);
    };
    const junk = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    t.equal(await code(route(closed, 'one.test', join(made.folder, 'none'))), 'ca_unreadable');
    t.equal(await code(route(closed, 'one.test', made.folder)), 'ca_unreadable');
    t.equal(
      await code(route(closed, 'one.test', await file('cut', both.cert.slice(0, 200)))),
      'ca_unparsable',
    );
    t.equal(await code(route(closed, 'one.test', await file('junk', junk))), 'ca_unaddable');
    t.equal(await code(route(closed, 'one.test')), 'tls_roots_missing');
    t.equal(
      await code(route(closed, 'one.test', await file('empty', 'no certificate\n'))),
      'tls_roots_missing',
    );
    t.equal(await code(route(closed, 'not a name', both.file)), 'tls_unreachable');
    const { port } = await gateway(t, both);
    t.equal(await code(route(port, 'not a name', both.file)), 'tls_server_name_invalid');
    const wrong = await failureOf(contexts.open(route(port, 'three.test', both.file), 'prod', within(3000)));
    t.equal(wrong.code, 'tls_handshake_failed');
    t.match(wrong.data.causes[1], /three\.test/, 'the cause says why');
    const other = await made.selfSigned('both', 'DNS:one.test');
    t.equal(await code(route(port, 'one.test', other.file)), 'tls_handshake_failed');
  });

  t.test('names follow rustls: subjectAltName only, addresses without SNI', async (t) => {
    const contexts = new TlsContexts({ roots: noRoots() });
    const plain = await made.selfSigned('one.test');
    const byAddress = await made.selfSigned('one.test', 'IP:127.0.0.1');
    const onPlain = await gateway(t, plain);
    const onAddress = await gateway(t, byAddress);
    const onBoth = await gateway(t, both);
    t.match(await failureOf(visit(contexts, route(onPlain.port, 'one.test', plain.file))), {
      code: 'tls_handshake_failed',
    });
    t.match(await failureOf(visit(contexts, route(onAddress.port, 'one.test', byAddress.file))), {
      code: 'tls_handshake_failed',
    });
    t.match(await failureOf(visit(contexts, route(onBoth.port, '127.0.0.1', both.file))), {
      code: 'tls_handshake_failed',
    });
    await visit(contexts, route(onAddress.port, '127.0.0.1', byAddress.file));
    t.equal(onAddress.names.at(-1), false, 'no SNI for an address');
    await visit(contexts, route(onBoth.port, 'two.test', both.file));
    t.equal(onBoth.names.at(-1), 'two.test');
  });

  t.test('a session is resumed for the very same name and trust only', async (t) => {
    const contexts = new TlsContexts({ roots: noRoots() });
    const { port } = await gateway(t, both);
    const ca = join(made.folder, 'ca.pem');
    await copyFile(both.file, ca);
    t.equal(await visit(contexts, route(port, 'one.test', ca)), false);
    t.equal(await visit(contexts, route(port, 'one.test', ca)), true, 'the second visit resumes');
    t.equal(await visit(contexts, route(port, 'two.test', ca)), false, 'another name does not');
    t.equal(await visit(contexts, route(port, 'one.test', both.file)), false, 'another CA file does not');
    await writeFile(ca, `${both.cert}\n`);
    t.equal(
      await visit(contexts, route(port, 'one.test', ca)),
      false,
      'a rewritten CA file drops the sessions',
    );
    t.equal(await visit(contexts, route(port, 'one.test', ca)), true);
    const other = await made.selfSigned('other', 'DNS:one.test');
    await copyFile(other.file, ca);
    t.match(
      await failureOf(visit(contexts, route(port, 'one.test', ca))),
      { code: 'tls_handshake_failed' },
      'a CA that does not verify the gateway is not talked around by an old session',
    );
  });

  t.test('what listens but says nothing is a handshake timeout, and an abort ends it at once', async (t) => {
    const sockets: Socket[] = [];
    const server = createTcp((socket) => {
      socket.on('error', () => undefined);
      sockets.push(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const contexts = new TlsContexts({ roots: noRoots() });
    const to = route(portOf(server), 'one.test', both.file);
    t.equal((await failureOf(contexts.open(to, 'prod', within(3000)))).code, 'tls_handshake_timeout');
    const abort = new AbortController();
    const reason = new Error('the client has gone');
    const opening = contexts.open(to, 'prod', within(20_000, abort.signal));
    const seen = new Promise<void>((resolve) =>
      server.once('connection', () => {
        resolve();
      }),
    );
    await seen;
    abort.abort(reason);
    await t.rejects(opening, reason);
  });

  t.test('system roots are read once, and again when they change', async (t) => {
    const bundle = join(made.folder, 'bundle.pem');
    await writeFile(
      bundle,
      `junk\n${both.cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    );
    const roots = new SystemRoots({ env: { SSL_CERT_FILE: bundle }, platform: 'linux' });
    const first = await roots.current();
    t.equal(first.anchors.length, 1, 'a broken certificate is left out');
    t.equal(await roots.current(), first, 'the same object: nothing has changed');
    const other = await made.selfSigned('other', 'DNS:one.test');
    await writeFile(bundle, both.cert + other.cert);
    await utimes(bundle, 1, 1);
    const second = await roots.current();
    t.equal(second.anchors.length, 2);
    t.not(second.version, first.version);

    const folder = join(made.folder, 'roots');
    await mkdir(folder);
    await symlink(both.file, join(folder, '0a1b2c3d.0'));
    await copyFile(other.file, join(folder, 'any name.txt'));
    const inFolder = new SystemRoots({ env: { SSL_CERT_DIR: folder }, platform: 'linux' });
    t.equal((await inFolder.current()).anchors.length, 2, 'files with any name count');
    const third = await made.selfSigned('third', 'DNS:three.test');
    await copyFile(third.file, join(folder, 'any name.txt'));
    const shown = (): Promise<boolean> =>
      inFolder.current().then(({ anchors }) => anchors.some(({ original }) => original === third.cert));
    await waitFor('a file that was rewritten in place', shown);
    const combined = new SystemRoots({ env: { SSL_CERT_FILE: both.file, SSL_CERT_DIR: folder } });
    t.equal((await combined.current()).anchors.length, 2, 'both variables count, a certificate once');
    t.match((await combined.current()).sources, [
      { kind: 'file', path: both.file, certificates: 1 },
      { kind: 'directory', path: folder, certificates: 1 },
    ]);
    const empty = new SystemRoots({ env: { SSL_CERT_FILE: '' } });
    t.equal((await empty.current()).anchors.length, 0, 'a variable that is set replaces the own store');

    const web = createHttps({ cert: both.cert, key: both.key }, (_request, answer) => answer.end('hello'));
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
    t.teardown(() => web.close());
    const system = new SystemTrust(roots);
    const http = new HttpClient({ env: {}, verified: system.verified });
    t.teardown(() => http.close());
    const get = async (host: string): Promise<string> => {
      const url = new URL(`https://${host}:${String(portOf(web))}/`);
      const answer = await http.get(url, {}, new AbortController().signal);
      return answer.text(100);
    };
    await t.rejects(get('127.0.0.1'), /not valid for 127\.0\.0\.1; its names/, 'the name is checked');
    await writeFile(bundle, await readFile(third.file));
    await t.rejects(get('127.0.0.1'), /self-signed certificate|unable to verify/, 'the roots are read again');
    await writeFile(bundle, both.cert);

    const { port } = await gateway(t, both);
    t.equal(
      await visit(new TlsContexts({ roots }), route(port, 'one.test')),
      false,
      'trusted without a ca_file',
    );
  });
});
