// A TLS gateway that sends any alert after its handshake. OpenSSL sends only its own ones, so this stands between: it knows the keys of the
// server and writes one record more.
import { createCipheriv, createHmac } from 'node:crypto';
import { connect, createServer, type Socket } from 'node:net';
import { createServer as createTls, type SecureVersion } from 'node:tls';
import type { Test } from 'tap';
import { selfSigned } from '../../embedded/certificate.ts';

export interface Alerting {
  readonly version: Extract<SecureVersion, 'TLSv1.2' | 'TLSv1.3'>;
  readonly alert: number;
  /** 2 is fatal. */
  readonly level?: number;
  /** After the handshake, or after one byte of the server. */
  readonly after: 'handshake' | 'byte';
  readonly end: 'close' | 'reset' | 'stay';
}

export interface AlertingGateway {
  readonly port: number;
  readonly certPem: string;
  /** Replaces what the next connections get. */
  now: Alerting;
  connections: number;
}

const CIPHER = {
  'TLSv1.2': 'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256',
  'TLSv1.3': 'TLS_AES_128_GCM_SHA256',
};
/** Content types of records. */
const [CHANGE_CIPHER, ALERT, HANDSHAKE, DATA] = [20, 21, 22, 23];
/** Records that the server has sent with its last keys before anything else: two tickets, or Finished. */
const BEFORE = { 'TLSv1.2': 1, 'TLSv1.3': 2 } as const;

export async function alertingGateway(t: Test, first: Alerting): Promise<AlertingGateway> {
  const { certPem, keyPem } = selfSigned();
  const gateway = { port: 0, certPem, now: first, connections: 0 };
  const server = createServer((client) => {
    gateway.connections += 1;
    // A record that waits for an acknowledgement would be lost with a reset.
    client.setNoDelay(true);
    relay(client, gateway.now, certPem, keyPem);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  gateway.port = portOf(server);
  return gateway;
}

function relay(client: Socket, what: Alerting, cert: string, key: string): void {
  const { version, after } = what;
  const secrets = new Map<string, { random: Buffer; secret: Buffer }>();
  const tls = createTls(
    { cert, key, minVersion: version, maxVersion: version, ciphers: CIPHER[version] },
    (socket) => {
      socket.on('error', () => undefined);
      if (after === 'byte') socket.once('data', () => socket.write('x'));
    },
  );
  tls.on('keylog', (line: Buffer) => {
    const [label = '', random = '', secret = ''] = line.toString().trim().split(' ');
    secrets.set(label, { random: Buffer.from(random, 'hex'), secret: Buffer.from(secret, 'hex') });
  });
  tls.on('tlsClientError', () => undefined);
  tls.listen(0, '127.0.0.1', () => {
    const inner = connect(portOf(tls), '127.0.0.1');
    let serverRandom: Buffer = Buffer.alloc(0);
    let hasFinished = false;
    let sent = 0;
    const close = (): void => {
      inner.destroy();
      tls.close();
    };
    const fromServer = records((type, record) => {
      if (client.destroyed) return;
      if (type === HANDSHAKE && record[5] === 2) serverRandom = record.subarray(11, 43);
      client.write(record);
      if (version === 'TLSv1.2' && type === CHANGE_CIPHER) hasFinished = true;
      else if (hasFinished) sent += 1;
      if (sent !== BEFORE[version] + (after === 'byte' ? 1 : 0)) return;
      const body = Buffer.from([what.level ?? 2, what.alert]);
      const one =
        version === 'TLSv1.3' ? sealed13(secrets, sent, body) : sealed12(secrets, serverRandom, sent, body);
      client.write(one, () => {
        if (what.end === 'close') client.end();
        if (what.end === 'reset') client.resetAndDestroy();
      });
      close();
    });
    const fromClient = records((type, record) => {
      if (version === 'TLSv1.3' && type === DATA) hasFinished = true;
      inner.write(record);
    });
    inner.on('data', fromServer).on('error', () => undefined);
    client
      .on('data', fromClient)
      .on('error', () => undefined)
      .on('close', close);
  });
}

function records(take: (type: number, record: Buffer) => void): (chunk: Buffer) => void {
  let all: Buffer = Buffer.alloc(0);
  return (chunk) => {
    all = Buffer.concat([all, chunk]);
    while (all.length >= 5 && all.length >= 5 + all.readUInt16BE(3)) {
      const length = 5 + all.readUInt16BE(3);
      const record = all.subarray(0, length);
      all = all.subarray(length);
      take(record[0] ?? 0, record);
    }
  };
}

type Secrets = ReadonlyMap<string, { readonly random: Buffer; readonly secret: Buffer }>;

function sealed13(secrets: Secrets, sequence: number, body: Buffer): Buffer {
  const secret = secrets.get('SERVER_TRAFFIC_SECRET_0')?.secret ?? Buffer.alloc(0);
  const expand = (label: string, length: number): Buffer => {
    const name = Buffer.from(`tls13 ${label}`);
    const info = Buffer.concat([Buffer.from([0, length, name.length]), name, Buffer.from([0])]);
    return expanded(secret, info, length);
  };
  const inner = Buffer.concat([body, Buffer.from([ALERT])]);
  const head = Buffer.from([DATA, 3, 3, 0, inner.length + 16]);
  const nonce = expand('iv', 12);
  nonce.writeUInt8(nonce.readUInt8(11) ^ sequence, 11);
  return Buffer.concat([head, gcm(expand('key', 16), nonce, head, inner)]);
}

/** HKDF-Expand for at most one block. */
function expanded(secret: Buffer, info: Buffer, length: number): Buffer {
  return createHmac('sha256', secret)
    .update(info)
    .update(Buffer.from([1]))
    .digest()
    .subarray(0, length);
}

function sealed12(secrets: Secrets, serverRandom: Buffer, sequence: number, body: Buffer): Buffer {
  const { random, secret } = secrets.get('CLIENT_RANDOM') ?? {
    random: Buffer.alloc(0),
    secret: Buffer.alloc(0),
  };
  const seed = Buffer.concat([Buffer.from('key expansion'), serverRandom, random]);
  const hmac = (...parts: readonly Buffer[]): Buffer =>
    parts.reduce((mac, part) => mac.update(part), createHmac('sha256', secret)).digest();
  let a: Buffer = seed;
  let block: Buffer = Buffer.alloc(0);
  while (block.length < 40) {
    a = hmac(a);
    block = Buffer.concat([block, hmac(a, seed)]);
  }
  const explicit = Buffer.alloc(8);
  explicit.writeUInt8(sequence, 7);
  const additional = Buffer.concat([explicit, Buffer.from([ALERT, 3, 3, 0, body.length])]);
  const sealed = gcm(
    block.subarray(16, 32),
    Buffer.concat([block.subarray(36, 40), explicit]),
    additional,
    body,
  );
  return Buffer.concat([Buffer.from([ALERT, 3, 3, 0, 8 + sealed.length]), explicit, sealed]);
}

function gcm(key: Buffer, nonce: Buffer, additional: Buffer, body: Buffer): Buffer {
  const cipher = createCipheriv('aes-128-gcm', key, nonce).setAAD(additional);
  return Buffer.concat([cipher.update(body), cipher.final(), cipher.getAuthTag()]);
}

function portOf(server: { address(): unknown }): number {
  return (server.address() as { port: number }).port;
}
