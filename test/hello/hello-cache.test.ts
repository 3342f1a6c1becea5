// The hello cache: which answer is expected, for which client, and for how long.
import t from 'tap';
import { HelloCache, greetingKey, type Greeting } from '../../daemon/hello/hello-cache.ts';
import { defaultContract } from '../../daemon/bmux-ipc/ipc.ts';
import type { Compression, Epoch } from '../../daemon/bmux-ipc/epoch.ts';

const MINUTE = 60_000;
const ALICE = '00112233-4455-6677-8899-aabbccddeeff';
const BOB = 'ffeeddcc-bbaa-4988-8766-554433221100';

function greeting(epoch: Epoch = 4, principalId = ALICE, clientName = 'c'): Greeting {
  return { contract: defaultContract(epoch), clientName, principalId };
}

function answer(compression: Compression = 'zstd', revision = 1) {
  const negotiated = { revision, capabilities: ['core.control'] };
  return { candidate: { epoch: 4 as const, compression }, negotiated, roundTripMs: 50 };
}

t.test('an answer is cached by contract and principal; the client name does not matter', async (t) => {
  const cache = new HelloCache();
  cache.store(greeting(), answer());
  t.match(cache.get(greeting(4, ALICE, 'another label')), answer());
  t.equal(cache.get(greeting(3)), undefined, 'another epoch');
  t.equal(cache.get(greeting(4, BOB)), undefined, 'another principal');
  const { contract } = greeting();
  for (const other of [
    { ...contract, capabilities: contract.capabilities.slice(1) },
    { ...contract, capabilities: [...contract.capabilities].reverse() },
    { ...contract, revisions: { min: 1, max: 2 } },
  ])
    t.equal(cache.get({ ...greeting(), contract: other }), undefined, 'another contract');
});

t.test('an answer expires, sooner without compression; one from the future is not used', async (t) => {
  let now = 1_000_000_000;
  const cache = new HelloCache({ now: () => now });
  const plain = new HelloCache({ now: () => now });
  cache.store(greeting(), answer('zstd'));
  plain.store(greeting(), answer('none'));
  now += MINUTE - 1;
  t.ok(plain.get(greeting()));
  now += 1;
  t.notOk(plain.get(greeting()));
  now += 14 * MINUTE - 1;
  t.ok(cache.get(greeting()));
  cache.store(greeting(), answer('zstd', 2));
  now += 15 * MINUTE - 1;
  t.equal(cache.get(greeting())?.negotiated.revision, 2, 'the latest answer counts, and its age');
  now += 1;
  t.notOk(cache.get(greeting()));
  cache.store(greeting(), answer());
  now -= 10 * MINUTE;
  t.notOk(cache.get(greeting()));
});

t.test('clear removes all answers', async (t) => {
  const cache = new HelloCache();
  for (const who of [ALICE, BOB]) cache.store(greeting(4, who), answer());
  cache.clear();
  for (const who of [ALICE, BOB]) t.equal(cache.get(greeting(4, who)), undefined);
});

t.test('the cache is bounded: the least recently used answer is removed', async (t) => {
  const cache = new HelloCache();
  const who = (turn: number): Greeting => greeting(4, `${ALICE.slice(0, -3)}${String(100 + turn)}`);
  cache.store(greeting(), answer());
  for (let turn = 0; turn < 40; turn += 1) cache.store(who(turn), answer());
  cache.store(greeting(), answer());
  for (let turn = 40; turn < 100; turn += 1) cache.store(who(turn), answer());
  t.ok(cache.get(greeting()));
  t.notOk(cache.get(who(20)));
  t.ok(cache.get(who(99)));
});

t.test('the key of a greeting is short and does not contain the principal', async (t) => {
  const key = greetingKey(greeting());
  t.ok(key.length < 80);
  t.notMatch(key, ALICE);
});
