// Tests the check for the undocumented properties of Node that bmuxd needs. A missing property must be named.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { TLSSocket } from 'node:tls';
import t from 'tap';
import { missingInternals, verifyErrorOf } from '../../daemon/base/node-internals.ts';
import { forkEngine } from '../../daemon/control/engines/engine-process.ts';
import { BMUXD, makeSandbox } from '../daemon/bmuxd.ts';
import { selfSigned } from '../embedded/certificate.ts';
import { repositoryRoot } from '../real/index.ts';
import { run } from '../real/server.ts';

t.test('this version of Node has all of them', async (t) => {
  t.same(missingInternals(), []);
});

t.test('missing properties are named', async (t) => {
  const create: unknown = Reflect.get(net, '_createServerHandle');
  const write: unknown = Reflect.get(net.Socket.prototype, '_writev');
  t.teardown(() => {
    Reflect.set(net, '_createServerHandle', create);
    Reflect.set(net.Socket.prototype, '_writev', write);
  });
  Reflect.set(net, '_createServerHandle', undefined);
  Reflect.set(net.Socket.prototype, '_writev', undefined);
  t.same(missingInternals(), ['net._createServerHandle', 'net.Socket.prototype._writev']);
});

t.test('the advice of Node is no part of what OpenSSL says', async (t) => {
  const said = (message: string): Error | undefined => {
    const error = Object.assign(new Error(message), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' });
    const socket = new TLSSocket(new PassThrough());
    t.teardown(() => socket.destroy());
    // TLS over another stream has a handle of its own from the beginning.
    const handle = Reflect.get(socket, '_handle') as object;
    Reflect.set(handle, 'verifyError', () => error);
    return verifyErrorOf(socket);
  };
  const own = { message: 'unable to verify the first certificate', code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' };
  t.match(said(own.message), own);
  // The text of Node 24, with its two spaces.
  const advice = '; if the root CA is installed locally, try running Node.js with  --use-system-ca';
  t.match(said(`${own.message}${advice}`), own);
  t.notMatch(said(`${own.message}${advice}`)?.message, /Node/);
});

/** Prints whether Node itself trusts a server whose certificate is in SSL_CERT_FILE, and that variable. `%`: what is done before. */
const OWN_ROOTS = `
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { makeRootStore } from '${new URL('../../daemon/base/node-internals.js', import.meta.url).href}';
%
const [cert, key] = [process.env.SSL_CERT_FILE, process.env.KEY_FILE].map((file) => readFileSync(file));
const server = tls.createServer({ cert, key }).on('tlsClientError', () => undefined).listen(0, '127.0.0.1', () => {
  const to = { port: server.address().port, host: '127.0.0.1', servername: 'localhost', rejectUnauthorized: false };
  const socket = tls.connect(to, () => {
    console.log(JSON.stringify([socket.authorized, process.env.SSL_CERT_FILE]));
    process.exit();
  });
});`;

t.test("an engine has no roots of Node's own, which take long to read", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-roots-'));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const [file, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const { certPem, keyPem } = selfSigned();
  await writeFile(file, certPem);
  await writeFile(keyFile, keyPem);
  const env = { PATH: process.env['PATH'] ?? '', SSL_CERT_FILE: file, KEY_FILE: keyFile };
  const printed = async (before: string): Promise<unknown> => {
    const args = ['--use-openssl-ca', '--input-type=module', '-e', OWN_ROOTS.replace('%', before)];
    const { stdout, stderr } = await run(process.execPath, args, env);
    return JSON.parse(stdout || JSON.stringify(stderr));
  };
  t.same(await printed(''), [true, file], 'the file is read else');
  t.same(await printed('makeRootStore(process.env);'), [false, file]);
  const hasFlag = (given: Readonly<Record<string, string>>): boolean => {
    const engine = forkEngine({ ...env, ...given }, 'ignore');
    engine.on('error', () => undefined).kill('SIGKILL');
    return engine.spawnargs.includes('--use-openssl-ca');
  };
  t.ok(hasFlag({}));
  // Node refuses two of them together.
  t.notOk(hasFlag({ NODE_OPTIONS: '--use-bundled-ca' }));
  t.notOk(hasFlag({ NODE_OPTIONS: '--no-warnings --use-system-ca' }));
  t.notOk(hasFlag({ NODE_USE_SYSTEM_CA: '1' }));
});

t.test('control refuses to start without them', async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  // Simulates a release of Node that lacks the property.
  const without = 'data:text/javascript,import net from "node:net"; net._createServerHandle = undefined;';
  const ran = await run(process.execPath, ['--import', without, BMUXD, 'run'], sandbox.env);
  t.match(ran, {
    status: 1,
    stderr: `Node ${process.version} lacks what bmuxd uses of it: net._createServerHandle\n`,
  });
});

t.test('these properties are used in node-internals.ts only', async (t) => {
  const FILES = ['transport/read-buffers', 'sockets/accepted-socket', 'sockets/bind'];
  for (const file of [...FILES, 'base/streams/drain-after-write-error', 'base/process/memory']) {
    const text = await readFile(join(repositoryRoot(), `daemon/${file}.ts`), 'utf8');
    t.notMatch(text, /_handle|_createServerHandle|useUserBuffer|\._write|setFlagsFromString/, file);
  }
});
