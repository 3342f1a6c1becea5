// Tests what is known of the addresses of host names.
import { isIP } from 'node:net';
import t from 'tap';
import { HostNames } from '../../../daemon/transport/tcp/host-names.ts';

t.test('an address that a name has left', async (t) => {
  let now = 0;
  let asked = 0;
  let answer: () => Promise<readonly string[]> = () => Promise.resolve(['10.0.0.1', '10.0.0.2']);
  const names = new HostNames({
    now: () => now,
    addressesOf: () => {
      asked += 1;
      return answer();
    },
  });
  /** Asks, waits for a lookup in the background, and asks again. */
  const hasLeft = async (address: string | undefined, host = 'gateway.test'): Promise<boolean> => {
    names.hasLeft(host, address);
    await new Promise((resolve) => setImmediate(resolve));
    return names.hasLeft(host, address);
  };
  t.equal(names.hasLeft('gateway.test', '10.0.0.9'), false, 'nothing is known yet');
  t.equal(await hasLeft('10.0.0.1'), false);
  t.equal(await hasLeft('10.0.0.9'), true);
  t.equal(asked, 1, 'an answer is used for a while');
  answer = () => Promise.resolve(['10.0.0.3']);
  now += 10_000;
  t.equal(await hasLeft('10.0.0.1'), true, 'and is renewed');
  answer = () => Promise.reject(new Error('no network'));
  now += 10_000;
  t.equal(await hasLeft('10.0.0.3'), false, 'a name that cannot be looked up leads where it has led');
  answer = () => Promise.resolve([]);
  t.equal(await hasLeft('10.0.0.3'), false);

  let done: (addresses: string[]) => void = () => undefined;
  answer = () => new Promise((resolve) => (done = resolve));
  asked = 0;
  await hasLeft('10.0.0.3');
  await hasLeft('10.0.0.3', 'other.test');
  t.equal(asked, 1, 'one lookup at a time');
  done(['10.0.0.4']);
  t.equal(await hasLeft('10.0.0.3'), true);

  asked = 0;
  t.equal(await hasLeft('10.0.0.1', '10.0.0.1'), false);
  t.equal(await hasLeft(undefined, 'more.test'), false);
  t.equal(asked, 0, 'an address is no name');
});

t.test('an address that took no connection', async (t) => {
  let now = 0;
  const all = ['10.0.0.1', '::2', '10.0.0.3', '10.0.0.4'];
  const names = new HostNames({
    now: () => now,
    lookup: (_host, _options, done) => {
      done(
        null,
        all.map((address) => ({ address, family: isIP(address) })),
      );
    },
  });
  const order = (): Promise<string[]> =>
    new Promise((resolve) => {
      names.lookup('gateway.test', { all: true }, (_error, found) => {
        resolve(typeof found === 'string' ? [] : found.map(({ address }) => address));
      });
    });
  const tried = (addresses: readonly string[], remoteAddress?: string): void => {
    const autoSelectFamilyAttemptedAddresses = addresses.map((address) => `${address}:443`);
    names.tried({ autoSelectFamilyAttemptedAddresses, remoteAddress });
  };
  t.strictSame(await order(), all);
  tried(['10.0.0.1', '::2', '10.0.0.3']);
  t.strictSame(
    await order(),
    ['10.0.0.3', '10.0.0.4', '10.0.0.1', '::2'],
    'the last one that was tried may have had no time',
  );
  tried(['10.0.0.3', '10.0.0.4'], '10.0.0.4');
  t.strictSame(await order(), ['10.0.0.4', '10.0.0.1', '::2', '10.0.0.3'], 'and the others keep their order');
  tried(['10.0.0.1'], '10.0.0.1');
  t.strictSame(
    await order(),
    ['10.0.0.1', '10.0.0.4', '::2', '10.0.0.3'],
    'one that took a connection counts again',
  );
  now += 5 * 60_000;
  t.strictSame(await order(), all, 'after a while all are tried in the order of the system');
});
