// Warm iroh connections with SSH auth: which callers may use them, and reconnects when a person would have to confirm the key.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LIMITS } from '../../daemon/base/limits.ts';
import { IrohDialler } from '../../daemon/iroh/dialler.ts';
import type { IrohStream } from '../../daemon/iroh/host.ts';
import { endGracefully } from '../../daemon/transport/end.ts';
import { holdTime } from '../base/async/held-timers.ts';
import { hasSshAgent, startAgent, waitFor } from '../real/index.ts';
import { sshString } from '../../daemon/transport/ssh-auth/agent.ts';
import { failureOf } from '../transport/dialling.ts';
import { connectionsOf, folder, greet, poolFor, routeTo, serve, wait } from './rig.ts';

t.test(
  'a connection is given only to callers with the key that authenticated it',
  { skip: !hasSshAgent() && 'no ssh-agent' },
  async (t) => {
    const [ann, bob, eve] = await Promise.all([startAgent(), startAgent(), startAgent()]);
    t.teardown(() => Promise.all([ann, bob, eve].map((agent) => agent.stop())));
    const keys = [await ann.addKey('ed25519', 'ann'), await bob.addKey('rsa', 'bob')];
    await eve.addKey('ed25519', 'eve');
    const server = await serve(t, keys);
    const pool = poolFor(t);
    const open = (agent: string | null | undefined): Promise<IrohStream> =>
      pool.stream(routeTo(server, agent), wait());
    await greet(await open(ann.socket));
    t.equal((await open(ann.socket)).warm, true, 'the same key');
    const bobs = await open(bob.socket);
    t.equal(bobs.warm, false, 'another key: another connection');
    await greet(bobs);
    t.equal((await open(bob.socket)).warm, true);
    t.equal(await connectionsOf(server), 2);
    t.equal((await failureOf(open(eve.socket))).code, 'ssh_auth_failed', 'a key that the host does not list');
    t.equal((await failureOf(open(null))).code, 'ssh_auth_failed', 'no agent');
    t.equal((await open(undefined)).warm, false, 'a caller without SSH auth gets none of them');
    await ann.stop();
    t.equal(
      (await failureOf(open(ann.socket))).code,
      'ssh_auth_failed',
      'an agent that has ended lists no key',
    );
  },
);

t.test(
  'a reconnect happens only when the agent signs without asking a person',
  { skip: !hasSshAgent() && 'no ssh-agent' },
  async (t) => {
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    const keys = [await agent.addKey('ed25519', 'ann')];
    const asking = await askingAgent(t, agent.socket);
    const [silent, asked] = [await serve(t, keys), await serve(t, keys)];
    const pool = poolFor(t);
    await endGracefully((await pool.stream(routeTo(silent, agent.socket), wait())).stream);
    await endGracefully((await pool.stream(routeTo(asked, asking), wait())).stream);
    await asked.command({ do: 'drop-iroh-connections' });
    await waitFor('the loss to be known', () => !pool.isWarm(routeTo(asked, asking)));
    await silent.command({ do: 'drop-iroh-connections' });
    await waitFor('the reconnect', async () => (await connectionsOf(silent)) === 2);
    t.equal(pool.isDialling(routeTo(asked, asking)), false, 'nobody can confirm the key in the background');
    t.equal(await connectionsOf(asked), 1);
    t.equal((await pool.stream(routeTo(asked, asking), wait())).warm, false, 'the next request dials');

    const next = await serve(t, keys);
    pool.moved(routeTo(silent, agent.socket), routeTo(next, agent.socket), { label: 'host' });
    await waitFor('a connection to the host at its new route', () =>
      pool.isWarm(routeTo(next, agent.socket)),
    );
  },
);

t.test(
  'a warm connection serves its caller while the agent is slow or locked',
  { skip: !hasSshAgent() && 'no ssh-agent' },
  async (t) => {
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    const server = await serve(t, [await agent.addKey('ed25519', 'ann')]);
    const slow = await askingAgent(t, agent.socket, REQUEST_IDENTITIES);
    const pool = poolFor(t);
    await greet(await pool.stream(routeTo(server, slow), wait(20_000)));
    t.equal((await pool.stream(routeTo(server, slow), wait(20_000))).warm, true, 'slow');
    await greet(await pool.stream(routeTo(server, agent.socket), wait(20_000)));
    await lock(agent.socket);
    t.equal((await pool.stream(routeTo(server, agent.socket), wait(20_000))).warm, true, 'locked');
    t.equal(await connectionsOf(server), 1);
  },
);

t.test(
  "while no agent lists its keys, the caller's own one is used at the limit",
  { skip: !hasSshAgent() && 'no ssh-agent' },
  async (t) => {
    const agent = await startAgent();
    t.teardown(() => agent.stop());
    const server = await serve(t, [await agent.addKey('ed25519', 'ann')]);
    const [hung, own] = [await muteAgent(t, agent.socket, Infinity), await muteAgent(t, agent.socket, 1)];
    const dialler = new IrohDialler(() => 'disabled');
    t.teardown(() => dialler.close(0));
    const time = holdTime(t);
    const route = { ...routeTo(server, own.path), earlierAgents: [hung.path] };
    const dialling = dialler.connect(route, wait(60_000), () => undefined);
    await time.until('the questions', () => hung.asked() === 1 && own.asked() === 1);
    await time.pass(LIMITS.agentChoiceMs);
    // An agent hears its question before the limit begins, and needs real time for the next one.
    for (let more = 0; own.asked() < 2 && more < 20; more += 1) {
      await time.pass(50);
      await realTurn();
    }
    await time.until('another question', () => own.asked() > 1);
    time.release();
    await (await dialling).connection.close();
  },
);

/** Resolves after some real time, also while time is held. */
function realTurn(): Promise<void> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      clearInterval(timer);
      resolve();
    }, 200);
  });
}

/** An agent that answers none of its first `mute` connections. It forwards to the agent at `real`. */
async function muteAgent(t: Test, real: string, mute: number) {
  const path = join(folder, `mute-${String(mute)}.sock`);
  let asked = 0;
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    asked += 1;
    if (asked <= mute) return;
    const upstream = connect(real).on('error', () => undefined);
    socket.pipe(upstream).pipe(socket);
  });
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return { path, asked: () => asked };
}

/** Locks an agent, as `ssh-add -x` does. */
async function lock(agentSocket: string): Promise<void> {
  const LOCK = 22;
  const socket = connect(agentSocket);
  socket.write(sshString(Buffer.concat([Buffer.from([LOCK]), sshString('secret')])));
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (answer[4] !== 6) throw new Error('the agent cannot be locked');
  socket.destroy();
}

const REQUEST_IDENTITIES = 11;
const SIGN_REQUEST = 13;

/** An agent that takes 1 s for one kind of request, like an agent that asks a person. It forwards to the agent at `real`. Returns its socket. */
async function askingAgent(t: Test, real: string, slow = SIGN_REQUEST): Promise<string> {
  const path = join(folder, `asking-${String(slow)}.sock`);
  const server = createServer((socket) => {
    const upstream = connect(real);
    upstream.pipe(socket);
    for (const one of [socket, upstream]) one.on('error', () => undefined);
    socket.on('close', () => upstream.destroy());
    socket.once('data', (request: Buffer) => {
      setTimeout(() => upstream.write(request), request[4] === slow ? 1000 : 0);
    });
  });
  server.listen(path);
  await once(server, 'listening');
  t.teardown(() => server.close());
  return path;
}
