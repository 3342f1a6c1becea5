// The host's side of SSH auth accepts a client that proves a listed key, and drops all others like the real host.
import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Connection } from '@number0/iroh/index.js';
import t, { type Test } from 'tap';
import * as real from '../../real/index.ts';
import { TestClient } from '../client.ts';
import { addressOf, dial, open, start, type Address } from './iroh-dial.ts';
import { byteArray } from './iroh-duplex.ts';
import { keyFingerprint, verifySshSignature } from './ssh-signature.ts';

const noReal = real.realBmux() === undefined && 'real bmux not found';
const sshString = (value: Buffer | string): Buffer => {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(Buffer.byteLength(value));
  return Buffer.concat([length, Buffer.from(value)]);
};

interface Key {
  readonly line: string;
  readonly blob: Buffer;
  readonly privateKey: KeyObject;
}

function newKey(): Key {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
  const blob = Buffer.concat([sshString('ssh-ed25519'), sshString(raw)]);
  return { line: `ssh-ed25519 ${blob.toString('base64')} test`, blob, privateKey };
}

function proofOf(key: Key, challenge: Buffer): string {
  const head = [sshString('git-sshripped-access-v1'), sshString(''), sshString('sha256')];
  const digest = createHash('sha256').update(challenge).digest();
  const signature = sign(
    null,
    Buffer.concat([Buffer.from('SSHSIG'), ...head, sshString(digest)]),
    key.privateKey,
  );
  const blob = Buffer.concat([sshString('ssh-ed25519'), sshString(signature)]);
  const body = Buffer.concat([
    Buffer.from('SSHSIG\0\0\0\x01'),
    sshString(key.blob),
    ...head,
    sshString(blob),
  ]);
  const lines = body.toString('base64').match(/.{1,70}/g) ?? [];
  return ['-----BEGIN SSH SIGNATURE-----', ...lines, '-----END SSH SIGNATURE-----', ''].join('\n');
}

interface Attempt {
  readonly version?: number;
  /** The named key, and the key that signs. */
  readonly key: Key;
  readonly signer?: Key;
}

/** The host's list, and its result: the result line, or how the connection closed. */
async function authenticate(
  connection: Connection,
  attempt: Attempt,
): Promise<{ allowed: unknown; result: string }> {
  const { send, recv } = await connection.openBi();
  let held = '';
  const line = async (): Promise<Record<string, unknown>> => {
    while (!held.includes('\n')) held += Buffer.from(await recv.read(16_384)).toString();
    const [first = '', ...rest] = held.split('\n');
    held = rest.join('\n');
    return JSON.parse(first) as Record<string, unknown>;
  };
  const write = (message: unknown): Promise<void> =>
    send.writeAll(byteArray(Buffer.from(`${JSON.stringify(message)}\n`)));
  let allowed: unknown;
  try {
    await write({ type: 'hello', version: attempt.version ?? 1 });
    const challenge = await line();
    allowed = challenge['allowed_fingerprints'];
    const signature = proofOf(attempt.signer ?? attempt.key, Buffer.from(challenge['challenge'] as number[]));
    const key = attempt.key.line;
    await write({
      type: 'proof',
      proof: { fingerprint: keyFingerprint(key), public_key_openssh: key, signature_pem: signature },
    });
    const result = JSON.stringify(await line());
    await send.finish();
    return { allowed, result };
  } catch {
    return { allowed, result: (await connection.closed()).split('\n')[0] ?? '' };
  }
}

async function access(t: Test, address: Address, key: Key): Promise<void> {
  const good = await dial(t, address);
  const { allowed, result } = await authenticate(good, { key });
  t.strictSame(allowed, [keyFingerprint(key.line)], 'the list of the host');
  t.equal(result, '{"type":"result","ok":true,"error":null}');
  await new TestClient(await open(good)).hello();
  t.pass('IPC after the proof');
  const attempts = {
    'another key': { key: newKey() },
    'a wrong signature': { key, signer: newKey() },
    'a wrong version': { key, version: 2 },
  };
  // The host sends a reason and closes at once. As with the real host, either can arrive first.
  for (const [name, attempt] of Object.entries(attempts))
    t.match(
      (await authenticate(await dial(t, address), attempt)).result,
      /ApplicationClosed|closed by peer|"ok":false/,
      name,
    );
  const mute = await open(await dial(t, address));
  await t.rejects(new TestClient(mute, { limitMs: 300 }).hello(), /no frame within/, 'no auth: silence');
}

t.test('SSH auth', async (t) => {
  const key = newKey();
  const { gateway } = await start(t, { sshAuth: { allowed: [{ publicKeyOpenssh: key.line }] } });
  await access(t, addressOf(gateway), key);
  t.equal(gateway.stats().refused, 3);
});

t.test('SSH auth of the real one', { skip: noReal }, async (t) => {
  const key = newKey();
  const server = await real.startServer();
  t.teardown(() => server.stop());
  const gateway = await real.startIrohGateway(server, { compression: 'none', sshAuth: [key.line] });
  t.teardown(() => gateway.stop());
  await access(t, gateway, key);
});

t.test('the proof that a real host accepted', async (t) => {
  interface Proof {
    readonly challenge: readonly number[];
    readonly fingerprint: string;
    readonly public_key_openssh: string;
    readonly signature_pem: string;
    readonly second_key: { readonly public_key_openssh: string; readonly fingerprint: string };
  }
  const path = join(real.repositoryRoot(), 'test', 'vectors', 'ssh-auth.json');
  const proof = JSON.parse(await readFile(path, 'utf8')) as Proof;
  const challenge = Buffer.from(proof.challenge);
  t.equal(keyFingerprint(proof.public_key_openssh), proof.fingerprint);
  t.equal(keyFingerprint(proof.second_key.public_key_openssh), proof.second_key.fingerprint);
  t.equal(verifySshSignature(proof.public_key_openssh, proof.signature_pem, challenge), true);
  t.equal(verifySshSignature(proof.public_key_openssh, proof.signature_pem, challenge.subarray(1)), false);
  t.equal(verifySshSignature(proof.second_key.public_key_openssh, proof.signature_pem, challenge), false);
});
