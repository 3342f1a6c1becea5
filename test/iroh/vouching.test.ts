// Tests daemon/iroh/agents.ts: for which keys an SSH agent vouches, also when it is slow, locked or gone.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { LIMITS } from '../../daemon/base/limits.ts';
import { Agents } from '../../daemon/iroh/agents.ts';
import { keyFingerprint, sshString } from '../../daemon/transport/ssh-auth/agent.ts';
import { holdTimers } from '../base/async/held-timers.ts';
import { waitFor } from '../real/index.ts';
import { within } from '../transport/dialling.ts';

const folder = await mkdtemp(join(tmpdir(), 'bmuxd-vouch-'));
t.teardown(() => rm(folder, { recursive: true, force: true }));

const blobOf = (name: string): Buffer => Buffer.concat([sshString('ssh-ed25519'), sshString(name)]);
const printOf = (name: string): string => keyFingerprint('ssh-ed25519', blobOf(name));
const listOf = (...names: string[]): Buffer =>
  sshString(
    Buffer.concat([
      Buffer.from([12, 0, 0, 0, names.length]),
      ...names.flatMap((name) => [sshString(blobOf(name)), sshString('')]),
    ]),
  );
const REFUSED = sshString(Buffer.from([5]));

/** An agent whose answer can be changed; undefined: it does not answer until `flush`. */
class FakeAgent {
  answer: Buffer | undefined = listOf('a');
  asked = 0;
  readonly path = join(folder, `${String(Math.random()).slice(2)}.sock`);
  readonly #server: Server;
  readonly #waiting = new Set<Socket>();

  constructor() {
    this.#server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.on('data', () => {
        this.asked += 1;
        this.#waiting.add(socket);
        if (this.answer !== undefined) this.flush(this.answer);
      });
    });
  }

  static async start(t: Test): Promise<FakeAgent> {
    const agent = new FakeAgent();
    agent.#server.listen(agent.path);
    await once(agent.#server, 'listening');
    t.teardown(() => agent.stop());
    return agent;
  }

  flush(answer: Buffer): void {
    for (const socket of this.#waiting) socket.write(answer);
    this.#waiting.clear();
  }

  stop(): void {
    for (const socket of this.#waiting) socket.destroy();
    this.#server.close();
  }
}

function agentsFor(t: Test): { agents: Agents; clock: { ms: number } } {
  const clock = { ms: 1_000_000 };
  const agents = new Agents(() => clock.ms);
  t.teardown(() => agents.close());
  return { agents, clock };
}

const long = () => within(20_000);
const printsOf = async (
  agents: Agents,
  agent: FakeAgent,
  ms = 10_000,
): Promise<readonly string[] | undefined> => (await agents.vouching([agent.path], within(ms)))?.fingerprints;

t.test('the first of several that answers serves, whoever hangs before it', async (t) => {
  const [hung, answers] = [await FakeAgent.start(t), await FakeAgent.start(t)];
  hung.answer = undefined;
  const { agents } = agentsFor(t);
  const serving = async (...sockets: string[]) => (await agents.answering(sockets, long()))?.agentSocket;
  t.equal(await serving(answers.path, hung.path), answers.path);
  // If asked one after the other, the first would use all the time.
  t.equal(await serving(hung.path, '/nothing-here', answers.path), answers.path);
  t.equal(await serving('/nothing-here'), undefined);
  t.equal(await serving(), undefined);
});

t.test(
  'the last list counts while the agent is slow, locked or refuses to list, for a bounded time',
  async (t) => {
    const { agents, clock } = agentsFor(t);
    const states: [name: string, answer: Buffer | undefined][] = [
      ['slow', undefined],
      ['locked', listOf()],
      ['refuses', REFUSED],
    ];
    for (const [name, answer] of states) {
      const agent = await FakeAgent.start(t);
      t.strictSame(await printsOf(agents, agent), [printOf('a')], name);
      agent.answer = answer;
      clock.ms += LIMITS.agentVouchedMs - 1;
      t.strictSame(await printsOf(agents, agent), [printOf('a')], `${name}, within the time`);
      clock.ms += 1;
      t.notOk((await printsOf(agents, agent, 400))?.length, `${name}, afterwards`);
      clock.ms -= LIMITS.agentVouchedMs * 2;
      t.notOk((await printsOf(agents, agent, 400))?.length, `${name}, when the clock was set back`);
    }
  },
);

t.test('a list with other keys is a no, and so is an agent that is gone', async (t) => {
  const { agents } = agentsFor(t);
  const agent = await FakeAgent.start(t);
  await printsOf(agents, agent);
  agent.answer = listOf('b');
  t.strictSame(await printsOf(agents, agent), [printOf('b')]);
  agent.stop();
  t.equal(await printsOf(agents, agent), undefined);
});

t.test('an agent that has signed vouches for that key', async (t) => {
  const { agents } = agentsFor(t);
  const agent = await FakeAgent.start(t);
  agent.answer = undefined;
  agents.signed(agent.path, 'x');
  t.strictSame(await printsOf(agents, agent), ['x']);
  t.equal(
    await agents.answering([agent.path], within(300)),
    undefined,
    'not for a dial: it has to sign there',
  );
});

t.test('a slow agent is asked once, and its late answer counts for the next caller', async (t) => {
  const { agents } = agentsFor(t);
  const agent = await FakeAgent.start(t);
  agent.answer = undefined;
  agents.signed(agent.path, 'x');
  for (let i = 0; i < 3; i += 1) t.strictSame(await printsOf(agents, agent), ['x']);
  t.equal(agent.asked, 1);
  const waiting = agents.answering([agent.path], long());
  agent.flush(listOf('c'));
  t.strictSame((await waiting)?.fingerprints, [printOf('c')], 'a caller waits as long as it has time');
  await waitFor(
    'the late answer to count',
    async () => (await printsOf(agents, agent))?.[0] === printOf('c'),
  );
});

t.test('the end of the request ends the wait', async (t) => {
  const { agents } = agentsFor(t);
  const agent = await FakeAgent.start(t);
  agent.answer = undefined;
  const abort = new AbortController();
  const waiting = agents.vouching([agent.path], { ...long(), signal: abort.signal });
  abort.abort(new Error('enough'));
  await t.rejects(waiting, /enough/);
});

t.test('an agent that never lists its keys is asked for a bounded time', async (t) => {
  const { agents } = agentsFor(t);
  const agent = await FakeAgent.start(t);
  agent.answer = undefined;
  const timers = holdTimers(t);
  const answering = agents.answering([agent.path], within(10 * LIMITS.agentListMs));
  await timers.until('the question', () => agent.asked === 1);
  await timers.pass(LIMITS.agentListMs);
  t.equal(await answering, undefined);
});
