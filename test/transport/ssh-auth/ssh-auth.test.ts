// SSH auth on iroh: a real agent, real keys, and hosts that violate the protocol.
import { createPublicKey, verify } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { authenticate } from '../../../daemon/transport/ssh-auth/authenticate.ts';
import { agentKeys, keyFingerprint, SshReader } from '../../../daemon/transport/ssh-auth/agent.ts';
import { armoredSignature, NAMESPACE, signedBytes } from '../../../daemon/transport/ssh-auth/sshsig.ts';
import { hasSshAgent, startAgent } from '../../real/index.ts';
import { failureOf, within } from '../dialling.ts';
import { challengeLine, host, keyOf, resultLine, vector } from './rig.ts';

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
    const found = await agentKeys(agent.socket, within(5000), () => new Error('late'));
    t.same(
      found.map(({ fingerprint }) => fingerprint),
      [print(lines.ed25519), print(lines.rsa)],
    );
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
