// Relays that do not answer, and DNS that does not know a host or does not work: what a dial and the doctor say of them.
import { createSocket } from 'node:dgram';
import net, { createServer, Socket, type AddressInfo } from 'node:net';
import { syncBuiltinESMExports } from 'node:module';
import { once } from 'node:events';
import { mock } from 'node:test';
import t, { type Test } from 'tap';
import { LIMITS } from '../../../daemon/base/limits.ts';
import { defaultSettings } from '../../../daemon/config/settings/table.ts';
import type { ProbeStep } from '../../../daemon/engine-protocol/probe.ts';
import { tryIroh } from '../../../daemon/engine/probe/iroh.ts';
import { HostDirectory } from '../../../daemon/transport/iroh/host-directory.ts';
import { checkWay } from '../../../daemon/transport/iroh/way-check.ts';
import { holdTime } from '../../base/async/held-timers.ts';
import { poolFor, routeTo, serve, wait } from '../../iroh/rig.ts';
import { failureOf } from '../dialling.ts';

const ID = '9c8f8d41932fe3dbcd7a1f7f98dd50eb4978b626084ed7952df2563ad2cbf2e1';
/** The same id in z-base-32, as @number0/iroh asks for it. */
const NAME = '_iroh.u18a4ocuf9t7zum4d793tzko7prztptgbb8pxfjp6jmdiwsm6moo.dns.iroh.link';
/** RFC 1035 §4.1.1. */
const [NO_ERROR, SERVER_FAILURE, NO_SUCH_NAME] = [0, 2, 3];

/** A status without a record, one TXT record, or no answer. */
type Said = number | 'a record' | 'nothing';

/** A server of names that answers each question with what `answer` says of its name. */
async function nameServer(
  t: Test,
  answer: (name: string) => Said,
): Promise<{ readonly directory: () => HostDirectory; readonly asked: string[] }> {
  const socket = createSocket('udp4');
  const asked: string[] = [];
  socket.on('message', (message, { port, address }) => {
    let end = 12;
    const labels: string[] = [];
    for (let length = message[end] ?? 0; length > 0; length = message[end] ?? 0) {
      labels.push(message.toString('latin1', end + 1, end + 1 + length));
      end += length + 1;
    }
    const name = labels.join('.');
    asked.push(name);
    const said = answer(name);
    if (said === 'nothing') return;
    const head = Buffer.alloc(12);
    message.copy(head, 0, 0, 2);
    head.writeUInt16BE(0x8180 + (said === 'a record' ? NO_ERROR : said), 2);
    head.writeUInt16BE(1, 4);
    head.writeUInt16BE(said === 'a record' ? 1 : 0, 6);
    // A pointer to the name, TXT, IN, 60 s, a text of one letter.
    const record = Buffer.from([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 2, 1, 0x78]);
    const parts = [head, message.subarray(12, end + 5), ...(said === 'a record' ? [record] : [])];
    socket.send(Buffer.concat(parts), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => new Promise<void>((resolve) => socket.close(() => resolve())));
  const servers = [`127.0.0.1:${String(socket.address().port)}`];
  return { directory: () => new HostDirectory(servers), asked };
}

/** An address of this machine at which nobody listens. */
async function closedPort(): Promise<string> {
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  return `127.0.0.1:${String(port)}`;
}

/** A host that answers no connect. */
function muteHost(t: Test): { readonly asked: () => number } {
  const hung = mock.method(net, 'connect', () => new Socket());
  syncBuiltinESMExports();
  t.teardown(() => {
    hung.mock.restore();
    syncBuiltinESMExports();
  });
  return { asked: () => hung.mock.callCount() };
}

t.test('a relay is asked beside a dial that takes long', async (t) => {
  const relay = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const url = `http://127.0.0.1:${String((relay.address() as AddressInfo).port)}`;
  const timers = holdTime(t);
  const way = { endpointId: ID, relayUrl: url };
  const alive = checkWay(way, 'box');
  t.teardown(() => alive.stop());
  let asked = 0;
  relay.on('connection', () => (asked += 1));
  await timers.pass(999);
  t.equal(asked, 0);
  await timers.pass(1);
  await timers.until('the question', () => asked === 1);
  await timers.until('its answer', () => alive.problem() === undefined);
  await new Promise((resolve) => relay.close(resolve));

  const gone = checkWay(way, 'box');
  t.teardown(() => gone.stop());
  await timers.pass(1000);
  await timers.until('the refusal', () => /ECONNREFUSED/.test(String(gone.problem()?.data.causes)));
  t.match(gone.problem()?.data, { code: 'iroh_relay_unreachable', class: 'relay' });
});

t.test('DNS is asked beside a dial that knows nothing but an endpoint id', async (t) => {
  const rows: readonly [string, (name: string) => Said, object | undefined][] = [
    ['a host that is published', () => 'a record', undefined],
    [
      'a host that is not published',
      (name: string) => (name === NAME ? NO_SUCH_NAME : NO_ERROR),
      { code: 'iroh_unreachable', class: 'server_gone', causes: [/knows no address of the host/] },
    ],
    [
      'a DNS that knows no name',
      () => NO_SUCH_NAME,
      { code: 'iroh_dns_failed', class: 'dns', causes: [/ENOTFOUND/] },
    ],
    [
      'a DNS that fails',
      () => SERVER_FAILURE,
      { code: 'iroh_dns_failed', class: 'dns', causes: [/ESERVFAIL/] },
    ],
  ];
  for (const [what, answer, failure] of rows) {
    const { directory } = await nameServer(t, answer);
    t.match((await directory().problem(ID, 'box'))?.data, failure, what);
  }
  const silent = await nameServer(t, () => 'nothing');
  t.equal(await silent.directory().problem('none', 'box'), undefined, 'an invalid id');
  t.strictSame(silent.asked, []);
  const timers = holdTime(t);
  const check = checkWay({ endpointId: ID }, 'box', silent.directory);
  t.teardown(() => check.stop());
  // Nobody listens there: its socket is closed.
  const direct = checkWay({ endpointId: ID, ipAddr: await closedPort() }, 'box', silent.directory);
  t.teardown(() => direct.stop());
  await timers.pass(999);
  t.equal(check.problem(), undefined);
  await timers.pass(1);
  t.match(check.problem()?.data, { code: 'iroh_dns_failed', class: 'dns', causes: [/no answer/] });
  await timers.until('the refusal', () => direct.problem() !== undefined);
  t.match(direct.problem()?.data, {
    code: 'iroh_unreachable',
    class: 'refused',
    causes: [/^nobody listens at 127/],
  });
  await timers.until('the question', () => silent.asked.length > 0);
});

t.test('a host of which only the endpoint id is known: what DNS says is told', async (t) => {
  const pool = poolFor(t);
  // Nobody publishes the id. What is told depends on the network of this machine.
  const route = { transport: 'iroh' as const, endpointId: ID, sshAuth: false };
  const { data } = await failureOf(pool.stream(route, wait(4000)));
  t.match(
    data,
    data.code === 'iroh_dns_failed'
      ? { class: 'dns', causes: [/dns\.iroh\.link/] }
      : { code: 'iroh_unreachable', class: /server_gone|offline/ },
  );
  t.notMatch(data.causes, [/TXT/]);
});

t.test('the doctor says that nobody listens at the address of a host', async (t) => {
  const route = { transport: 'iroh' as const, endpointId: ID, ipAddr: await closedPort(), sshAuth: false };
  const plan = { destination: { label: 'box' }, budgetMs: 1500 };
  const settings = { ...defaultSettings(), 'iroh.relays': 'disabled' as const };
  const { data } = await failureOf(tryIroh(plan, route, settings, []));
  t.match(data, { code: 'iroh_unreachable', class: 'refused', causes: [/nobody listens/] });
});

t.test('the doctor says that a relay does not answer, and tries the direct path', async (t) => {
  const server = await serve(t);
  const route = { ...routeTo(server), relayUrl: 'http://relay.invalid' };
  const host = muteHost(t);
  const timers = holdTime(t);
  const steps: ProbeStep[] = [];
  const plan = { destination: { label: 'box' }, budgetMs: 60_000 };
  const trying = tryIroh(plan, route, { ...defaultSettings(), 'iroh.relays': 'disabled' }, steps);
  await timers.until('the question', () => host.asked() === 1);
  await timers.pass(LIMITS.relayAskedMs - 1);
  t.strictSame(steps, []);
  // The limit is computed from a time with fractions of a millisecond.
  await timers.pass(2);
  await timers.until('the report', () => steps.length === 1);
  timers.release();
  t.match(steps[0], { step: 'relay', detail: /does not answer: no answer from the relay relay\.invalid/ });
  await trying;
  t.match(steps[1], { step: 'host' });
});
