// What may be promised, to whom, for how long.
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

t.test(
  'an answer is remembered for this contract and principal at this address, whatever the label',
  async (t) => {
    const memory = new HelloCache();
    memory.store('tls:a:1', greeting(), answer());
    t.match(memory.get('tls:a:1', greeting(4, ALICE, 'another label')), answer());
    t.equal(memory.get('tls:a:2', greeting()), undefined, 'another address');
    t.equal(memory.get('tls:a:1', greeting(3)), undefined, 'another epoch');
    t.equal(memory.get('tls:a:1', greeting(4, BOB)), undefined, 'another principal');
    const { contract } = greeting();
    for (const other of [
      { ...contract, capabilities: contract.capabilities.slice(1) },
      { ...contract, capabilities: [...contract.capabilities].reverse() },
      { ...contract, revisions: { min: 1, max: 2 } },
    ])
      t.equal(memory.get('tls:a:1', { ...greeting(), contract: other }), undefined, 'another contract');
  },
);

t.test(
  'it grows old, sooner where nothing checks the bytes; a clock that was set back proves nothing',
  async (t) => {
    let now = 1_000_000_000;
    const memory = new HelloCache({ now: () => now });
    memory.store('zstd', greeting(), answer('zstd'));
    memory.store('plain', greeting(), answer('none'));
    now += MINUTE - 1;
    t.ok(memory.get('plain', greeting()));
    now += 1;
    t.notOk(memory.get('plain', greeting()));
    now += 14 * MINUTE - 1;
    t.ok(memory.get('zstd', greeting()));
    memory.store('zstd', greeting(), answer('zstd', 2));
    now += 15 * MINUTE - 1;
    t.equal(
      memory.get('zstd', greeting())?.negotiated.revision,
      2,
      'the latest answer counts, from its own time',
    );
    now += 1;
    t.notOk(memory.get('zstd', greeting()));
    memory.store('zstd', greeting(), answer());
    now -= 10 * MINUTE;
    t.notOk(memory.get('zstd', greeting()));
  },
);

t.test('one difference makes everything about an address doubtful, and nothing else', async (t) => {
  const memory = new HelloCache();
  for (const address of ['tls:a:1', 'tls:a:10', 'tls:b:1'])
    for (const who of [ALICE, BOB]) memory.store(address, greeting(4, who), answer());
  memory.forget('tls:a:1');
  const left = ['tls:a:1', 'tls:a:10', 'tls:b:1'].map((address) =>
    [ALICE, BOB].filter((who) => memory.get(address, greeting(4, who)) !== undefined),
  );
  t.strictSame(left, [[], [ALICE, BOB], [ALICE, BOB]]);
});

t.test('it is bounded: what was confirmed last stays', async (t) => {
  const memory = new HelloCache();
  memory.store('again', greeting(), answer());
  for (let turn = 0; turn < 200; turn += 1) memory.store(`tls:${String(turn)}`, greeting(), answer());
  memory.store('again', greeting(), answer());
  for (let turn = 200; turn < 400; turn += 1) memory.store(`tls:${String(turn)}`, greeting(), answer());
  t.ok(memory.get('again', greeting()));
  t.notOk(memory.get('tls:100', greeting()));
  t.ok(memory.get('tls:399', greeting()));
});

t.test('the key of a greeting is short and says no principal', async (t) => {
  const key = greetingKey('tls:a:1', greeting());
  t.ok(key.length < 80);
  t.notMatch(key, ALICE);
});
