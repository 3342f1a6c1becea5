// SSH auth on iroh: a real agent, real keys, and hosts that violate the protocol.
import { createPublicKey, verify } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  agentFingerprints,
  answeringAgent,
  authenticate,
} from '../../../daemon/transport/ssh-auth/authenticate.ts';
import { keyFingerprint, sshString, SshReader } from '../../../daemon/transport/ssh-auth/agent.ts';
import { armoredSignature, NAMESPACE, signedBytes } from '../../../daemon/transport/ssh-auth/sshsig.ts';
import { hasSshAgent, repositoryRoot, startAgent } from '../../real/index.ts';
import { failureOf, within } from '../dialling.ts';

interface Vector {
  readonly namespace: string;
  readonly challenge: number[];
  readonly fingerprint: string;
  readonly public_key_openssh: string;
  readonly signature_pem: string;
  readonly second_key: { readonly public_key_openssh: string; readonly fingerprint: string };
}

const vector = JSON.parse(
  await readFile(join(repositoryRoot(), 'test', 'vectors', 'ssh-auth.json'), 'utf8'),
) as Vector;

function keyOf(line: string): { type: string; blob: Buffer } {
  const [type = '', body = ''] = line.split(' ');
  return { type, blob: Buffer.from(body, 'base64') };
}

/** Listens on its own Unix socket. */
async function listen(t: Test, onSocket: (socket: Socket) => void): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-auth-'));
  const path = join(folder, 's');
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
  return path;
}

/** A host that answers each line of the client with the result of `script`; null closes the connection. */
async function host(t: Test, script: (line: Record<string, unknown>) => string | null) {
  const path = await listen(t, (socket) => {
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('utf8');
      for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n')) {
        const answer = script(JSON.parse(text.slice(0, at)) as Record<string, unknown>);
        text = text.slice(at + 1);
        if (answer === null) socket.destroy();
        else socket.write(answer);
      }
    });
  });
  return () => connect({ path, allowHalfOpen: true });
}

const challengeLine = (allowed: readonly string[]): string =>
  `${JSON.stringify({ type: 'challenge', challenge: vector.challenge, allowed_fingerprints: allowed })}\n`;
const resultLine = (ok: boolean, error: string | null): string =>
  `${JSON.stringify({ type: 'result', ok, error })}\n`;

t.test('vectors of a proof that a real host accepted', (t) => {
  t.equal(vector.namespace, NAMESPACE);
  for (const { public_key_openssh: line, fingerprint } of [vector, vector.second_key]) {
    const { type, blob } = keyOf(line);
    t.equal(keyFingerprint(type, blob), fingerprint);
  }
  const { blob } = keyOf(vector.public_key_openssh);
  const sshsig = Buffer.from(vector.signature_pem.split('\n').slice(1, -2).join(''), 'base64');
  const reader = new SshReader(sshsig.subarray(10));
  reader.string();
  for (let i = 0; i < 3; i++) reader.string();
  const signature = Buffer.from(reader.string());
  t.equal(armoredSignature(blob, signature), vector.signature_pem, 'the armor is the same, byte by byte');
  const key = new SshReader(blob);
  key.string();
  const raw = Buffer.from(key.string());
  const publicKey = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') },
    format: 'jwk',
  });
  const inner = new SshReader(signature);
  inner.string();
  t.ok(verify(null, signedBytes(Buffer.from(vector.challenge)), publicKey, inner.string()));
  t.end();
});

t.test('with a real agent', { skip: !hasSshAgent() && 'ssh-agent not found' }, async (t) => {
  const agent = await startAgent();
  t.teardown(() => agent.stop());
  const lines = {
    ed25519: await agent.addKey('ed25519', 'laptop key'),
    rsa: await agent.addKey('rsa', 'old key'),
  };
  await agent.addKey('ecdsa', 'not for bmux');
  const print = (line: string): string => keyFingerprint(keyOf(line).type, keyOf(line).blob);
  const label = 'prod';

  t.test('lists Ed25519 and RSA keys only', async (t) => {
    const found = await agentFingerprints(agent.socket, { ...within(5000), label });
    t.same(found, [print(lines.ed25519), print(lines.rsa)]);
  });

  for (const [type, line] of Object.entries(lines)) {
    t.test(`ssh-keygen verifies a proof with ${type}`, async (t) => {
      let proof: Record<string, string> = {};
      const dial = await host(t, (said) => {
        if (said['type'] === 'hello') return challengeLine(['unknown', print(line)]);
        proof = said['proof'] as Record<string, string>;
        return resultLine(true, null);
      });
      const identity = await authenticate(dial(), { ...within(10_000), agentSocket: agent.socket, label });
      t.equal(identity.fingerprint, print(line));
      t.equal(proof['public_key_openssh'], line);
      const signature = join(agent.folder, `${type}.sig`);
      const signers = join(agent.folder, `${type}.signers`);
      await writeFile(signature, proof['signature_pem'] ?? '');
      await writeFile(signers, `me ${line}\n`);
      const said = await new Promise<string>((resolve) => {
        const args = ['-Y', 'verify', '-n', NAMESPACE, '-I', 'me', '-f', signers, '-s', signature];
        const child = execFile('ssh-keygen', args, (_error, stdout, stderr) => {
          resolve(stdout + stderr);
        });
        child.stdin?.end(Buffer.from(vector.challenge));
      });
      t.match(said, /^Good "git-sshripped-access-v1" signature for me/);
    });
  }

  t.test('the host decides which key: the first of its list that the agent holds', async (t) => {
    const dial = await host(t, (said) =>
      said['type'] === 'hello'
        ? challengeLine([print(lines.rsa), print(lines.ed25519)])
        : resultLine(true, null),
    );
    const identity = await authenticate(dial(), { ...within(10_000), agentSocket: agent.socket, label });
    t.match(identity, { fingerprint: print(lines.rsa), comment: 'old key' });
  });

  t.test('no key on the list is offered nothing else', async (t) => {
    const said: unknown[] = [];
    const dial = await host(t, (line) => {
      said.push(line['type']);
      return challengeLine(['someone-else']);
    });
    const failure = await failureOf(
      authenticate(dial(), { ...within(10_000), agentSocket: agent.socket, label }),
    );
    t.equal(failure.code, 'ssh_auth_failed');
    t.match(failure.data.causes, [/^no suitable SSH agent key available for host allowlist/, /someone-else/]);
    t.same(said, ['hello']);
  });

  const refusals: [string, string | null, RegExp][] = [
    [
      'a closed connection',
      null,
      /^iroh SSH auth rejected: the host closed the connection: key .*\(laptop key\)/,
    ],
    ['a result', resultLine(false, 'not\u001b[31m today'), /^iroh SSH auth rejected: not \[31m today: key /],
    ['a line that is no JSON', 'what?\n', /^not a valid line of the SSH auth exchange: not JSON/],
    ['a line without an end', 'x'.repeat(70_000), /longer than 65536 bytes/],
  ];
  for (const [what, answer, text] of refusals) {
    t.test(`${what} after the proof`, async (t) => {
      const list = [print(lines.ed25519)];
      const dial = await host(t, (said) => (said['type'] === 'hello' ? challengeLine(list) : answer));
      const failure = await failureOf(
        authenticate(dial(), { ...within(10_000), agentSocket: agent.socket, label }),
      );
      t.equal(failure.code, 'ssh_auth_failed');
      t.match(failure.data.causes[0], text);
    });
  }

  t.test('a silent host is out of time, one that closes at once refuses', async (t) => {
    const silent = await host(t, () => '');
    const options = { agentSocket: agent.socket, label };
    t.equal(
      (await failureOf(authenticate(silent(), { ...within(300), ...options }))).code,
      'ssh_auth_timeout',
    );
    const closing = await host(t, () => null);
    const failure = await failureOf(authenticate(closing(), { ...within(5000), ...options }));
    t.match(failure.data.causes[0], /closed the connection before its challenge/);
  });
});

t.test('agents that misbehave', async (t) => {
  const blob = keyOf(vector.second_key.public_key_openssh).blob;
  const identities = Buffer.concat([Buffer.from([12, 0, 0, 0, 1]), sshString(blob), sshString('rsa key')]);
  /** An agent that lists one RSA key and answers a request to sign with `sign`. */
  const agent = (t: Test, list: Buffer, sign: Buffer) =>
    listen(t, (socket) => {
      socket.on('data', (chunk) => socket.write(chunk[4] === 11 ? list : sign));
    });
  const fails = async (t: Test, list: Buffer, sign: Buffer, ms = 10_000) => {
    const dial = await host(t, () => challengeLine([vector.second_key.fingerprint]));
    const agentSocket = await agent(t, list, sign);
    return failureOf(authenticate(dial(), { ...within(ms), agentSocket, label: 'prod' }));
  };
  const list = sshString(identities);
  const sha1 = sshString(
    Buffer.concat([Buffer.from([14]), sshString(Buffer.concat([sshString('ssh-rsa'), sshString('x')]))]),
  );
  const huge = Buffer.from([0xff, 0xff, 0xff, 0xff, 12]);

  t.test('the first of several that answers serves, whoever hangs before it', async (t) => {
    const hung = await listen(t, () => undefined);
    const answers = await agent(t, list, sha1);
    const serving = async (...sockets: string[]): Promise<string | undefined> =>
      (await answeringAgent(sockets, { ...within(2000), label: 'prod' }))?.agentSocket;
    t.equal(await serving(answers, hung), answers);
    // If asked one after the other, the first would use all the time.
    t.equal(await serving(hung, '/nothing-here', answers), answers);
    t.equal(await serving('/nothing-here'), undefined);
    t.equal(await serving(), undefined);
  });
  t.test('SHA-1 is never taken', async (t) => {
    t.match((await fails(t, list, sha1)).data.causes[0], /signed with "ssh-rsa" instead of rsa-sha2-256/);
  });
  t.test('a refusal to sign', async (t) => {
    t.match((await fails(t, list, sshString(Buffer.from([5])))).data.causes[0], /refused to sign/);
  });
  t.test('lengths beyond every limit', async (t) => {
    t.match((await fails(t, huge, huge)).data.causes[0], /message of 4294967295 bytes/);
    const many = sshString(Buffer.from([12, 0x7f, 0xff, 0xff, 0xff]));
    t.match((await fails(t, many, huge)).data.causes[0], /claims 2147483647 keys/);
    const cut = sshString(identities.subarray(0, -3));
    t.match((await fails(t, cut, huge)).data.causes[0], /truncated/);
  });
  t.test('silence is a timeout', async (t) => {
    t.equal((await fails(t, list, Buffer.alloc(0), 400)).code, 'ssh_auth_timeout');
  });
  t.test('no agent at all', async (t) => {
    const dial = await host(t, () => '');
    for (const agentSocket of [undefined, '/nowhere/agent']) {
      const failure = await failureOf(authenticate(dial(), { ...within(2000), agentSocket, label: 'prod' }));
      t.equal(failure.code, 'ssh_auth_failed');
      t.match(failure.data.causes[0], /^iroh SSH auth failed: /);
    }
  });
});
