// SSH agents that refuse, hang, or send what is no valid list.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { AgentError, AgentGone, agentKeys, sshString } from '../../../daemon/transport/ssh-auth/agent.ts';
import { authenticate } from '../../../daemon/transport/ssh-auth/authenticate.ts';
import { failureOf, within } from '../dialling.ts';
import { challengeLine, host, keyOf, listen, resultLine, vector } from './rig.ts';

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

  t.test('SHA-1 is never taken', async (t) => {
    t.match((await fails(t, list, sha1)).data.causes[0], /signed with "ssh-rsa" instead of rsa-sha2-256/);
  });
  t.test('a refusal to sign names the key, and the next key that the host lists is tried', async (t) => {
    const { causes, remedy } = (await fails(t, list, sshString(Buffer.from([5])))).data;
    t.match(remedy, /^Unlock the SSH agent or confirm the use of the key/);
    t.match(causes[0], `refused to sign with key ${vector.second_key.fingerprint} (rsa key)`);

    const other = keyOf(vector.public_key_openssh);
    const both = sshString(
      Buffer.concat([
        Buffer.from([12, 0, 0, 0, 2]),
        ...[blob, other.blob].flatMap((key) => [sshString(key), sshString('k')]),
      ]),
    );
    const signature = sshString(Buffer.concat([sshString('ssh-ed25519'), sshString('x'.repeat(64))]));
    const failures: readonly (readonly [string, Buffer | undefined])[] = [
      ['a refusal', Buffer.from([30])],
      ['a signature that is cut off', Buffer.from([14, 0, 0, 1, 0, 1])],
      ['a hang-up', undefined],
    ];
    for (const [what, failing] of failures) {
      const agentSocket = await listen(t, (socket) => {
        socket.on('data', (chunk) => {
          const isOther = chunk.includes(other.blob);
          const signed = isOther ? Buffer.concat([Buffer.from([14]), signature]) : failing;
          if (chunk[4] === 11) socket.write(both);
          else if (signed === undefined) socket.destroy();
          else socket.write(sshString(signed));
        });
      });
      let proof: unknown;
      const dial = await host(t, (said) => {
        proof = said['proof'];
        const listed = ['unknown', vector.second_key.fingerprint, vector.fingerprint];
        return said['type'] === 'hello' ? challengeLine(listed) : resultLine(true, null);
      });
      const identity = await authenticate(dial(), { ...within(10_000), agentSocket, label: 'prod' });
      t.equal(identity.fingerprint, vector.fingerprint, what);
      t.hasStrict(proof, { fingerprint: vector.fingerprint });
    }
  });
  t.test('without an agent the remedy is an agent', async (t) => {
    for (const agentSocket of [undefined, '/nowhere/agent', `/${'x'.repeat(200)}`]) {
      const dial = await host(t, () => challengeLine([vector.fingerprint]));
      const failure = await failureOf(
        authenticate(dial(), { ...within(10_000), agentSocket, label: 'prod' }),
      );
      t.match(failure.data.remedy, /^Start an SSH agent, or set SSH_AUTH_SOCK/);
    }
  });
  t.test('an agent whose queue is full is there', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'bmuxd-'));
    const path = join(folder, 's');
    const program = `require('node:net').createServer(() => {}).listen({ path: ${JSON.stringify(path)}, backlog: 1 }, () => console.log('up'))`;
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    const waiting: Socket[] = [];
    t.teardown(async () => {
      for (const socket of waiting) socket.destroy();
      child.kill('SIGKILL');
      await rm(folder, { recursive: true });
    });
    await once(child.stdout, 'data');
    child.kill('SIGSTOP');
    for (let at = 0; at < 4; at += 1) waiting.push(connect({ path }).on('error', () => undefined));
    const asked = agentKeys(path, within(20_000), () => new Error('late'));
    const why: unknown = await asked.catch((error: unknown) => error);
    t.ok(why instanceof AgentError && !(why instanceof AgentGone), String(why));
    const nobody = agentKeys(join(folder, 'none'), within(20_000), () => new Error('late'));
    t.ok((await nobody.catch((error: unknown) => error)) instanceof AgentGone);
  });
  t.test('an entry that is no usable key spoils nothing but itself, and comments may be long', async (t) => {
    const entries = [
      Buffer.alloc(0),
      Buffer.from([0, 0, 0, 50, 1, 2]),
      sshString(''),
      Buffer.concat([sshString('ssh-mldsa-65'), sshString('x')]),
      Buffer.concat([sshString('ssh-ed25519-cert-v01@openssh.com'), sshString('x')]),
      blob,
    ];
    const comment = '\u00fc'.repeat(10_000);
    const body = Buffer.concat([
      Buffer.from([12, 0, 0, 0, entries.length]),
      ...entries.flatMap((key) => [sshString(key), sshString(comment)]),
      Buffer.from('what is behind the list does not count'),
    ]);
    const message = sshString(body);
    // In pieces of one byte, an implementation that joins them again for each piece would copy gigabytes.
    const agentSocket = await listen(t, (socket) => {
      socket.once('data', () => {
        let at = 0;
        const more = (): void => {
          while (at < message.length && socket.write(message.subarray(at, (at += 16))));
        };
        socket.on('drain', more);
        more();
      });
    });
    const keys = await agentKeys(agentSocket, within(20_000), () => new Error('late'));
    t.strictSame(
      keys.map(({ fingerprint }) => fingerprint),
      [vector.second_key.fingerprint],
    );
    t.ok((keys[0]?.comment.length ?? 0) <= 256);
  });
  t.test('between two keys of a list other streams may have their turn', async (t) => {
    const count = 1000;
    const head = Buffer.from([12, 0, 0, count >> 8, count & 0xff]);
    const entry = Buffer.concat([sshString(blob), sshString('comment')]);
    const small = Buffer.concat([sshString(''), sshString('')]);
    const entries = Array.from({ length: count }, (_, at) => (at % 100 === 0 ? entry : small));
    const agentSocket = await agent(t, sshString(Buffer.concat([head, ...entries])), sha1);
    let turns = 0;
    const next = async (): Promise<void> => {
      turns += 1;
      await Promise.resolve();
    };
    const slices = { next };
    const keys = await agentKeys(agentSocket, within(20_000), () => new Error('late'), slices);
    t.equal(keys.length, 10);
    t.equal(turns, count);
  });
  t.test('a list may have as many bytes and keys as bmux reads', async (t) => {
    const head = Buffer.from([12, 0, 0, 2500 >> 8, 2500 & 0xff]);
    const small = Buffer.concat([sshString(''), sshString('x'.repeat(400))]);
    const entries = [...Array.from({ length: 2499 }, () => small), sshString(blob), sshString('')];
    const agentSocket = await agent(t, sshString(Buffer.concat([head, ...entries])), sha1);
    const keys = await agentKeys(agentSocket, within(20_000), () => new Error('late'));
    t.equal(keys.length, 1);
  });
  t.test('lengths beyond every limit', async (t) => {
    t.match((await fails(t, huge, huge)).data.causes[0], /message of 4294967295 bytes/);
    const many = sshString(Buffer.from([12, 0x7f, 0xff, 0xff, 0xff]));
    t.match((await fails(t, many, huge)).data.causes[0], /claims 2147483647 keys/);
    const cut = sshString(identities.subarray(0, -3));
    const { causes, remedy } = (await fails(t, cut, huge)).data;
    t.match(causes[0], /truncated/);
    t.match(remedy, /^See that SSH_AUTH_SOCK is the socket of an SSH agent/, 'no key would help');
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
    const long = `/${'x'.repeat(107)}`;
    const failure = await failureOf(
      authenticate(dial(), { ...within(2000), agentSocket: long, label: 'prod' }),
    );
    t.match(failure.data.causes[0], `the socket path ${long} is 108 bytes long`, 'it is not cut');
  });
});
