// Tests which changes of the network interfaces count as a change of the network.
import type { NetworkInterfaceInfo } from 'node:os';
import t from 'tap';
import type { Interfaces } from '../../daemon/base/process/network.ts';
import { NetworkWatch, type RouteTables } from '../../daemon/engine/network-watch.ts';

function address(text: string, internal = false): NetworkInterfaceInfo {
  const common = { address: text, netmask: '', mac: '', internal, cidr: null };
  return text.includes(':') ? { ...common, family: 'IPv6', scopeid: 0 } : { ...common, family: 'IPv4' };
}

const NONE: RouteTables = { ipv4: '', ipv6: '' };

t.test('another address or interface is a change, and nothing else is', async (t) => {
  let now: Interfaces = { lo: [address('127.0.0.1', true)], eth0: [address('10.0.0.5')] };
  let changes = 0;
  const watch = new NetworkWatch({ read: () => now, routes: () => NONE, onChange: () => (changes += 1) });
  t.teardown(() => watch.close());
  const seen = (next: Interfaces): number => {
    now = next;
    changes = 0;
    watch.look();
    watch.look();
    return changes;
  };
  const lo = [address('127.0.0.1', true), address('127.0.0.2', true)];
  t.equal(seen({ lo, eth0: [address('10.0.0.5')] }), 0, 'loopback addresses do not count');
  t.equal(seen({ lo, eth0: [address('10.0.0.6')] }), 1, 'another address');
  t.equal(seen({ lo, wlan0: [address('10.0.0.6')] }), 1, 'the same address on another interface');
  t.equal(seen({ lo }), 1, 'no address');
  const wlan = (last: string): Interfaces => ({ lo, wlan0: [address(`2001:db8:1:2:${last}`)] });
  t.equal(seen(wlan('a:b:c:1')), 1, 'an address again');
  t.equal(seen(wlan('a:b:c:2')), 0, 'a temporary address of the same network');
  t.equal(seen({ lo, wlan0: [address('2001:db8:1:3::1')] }), 1, 'another network');
});

t.test('a jump of the clock is a change, also when the timer has not run since', async (t) => {
  let now = 1_000_000;
  const changes: string[] = [];
  const read = (): Interfaces => ({ eth0: [address('10.0.0.5')] });
  const watch = new NetworkWatch({
    read,
    routes: () => NONE,
    now: () => now,
    onChange: (what) => changes.push(what),
  });
  t.teardown(() => watch.close());
  for (const [ms, expected] of [
    [2000, 0],
    [6000, 0],
    [60_000, 1],
    [2000, 0],
    [-3_600_000, 1],
  ] as const) {
    for (const how of ['look', 'noticeJump'] as const) {
      changes.length = 0;
      now += ms;
      watch[how]();
      watch.look();
      watch.noticeJump();
      t.strictSame(changes, Array(expected).fill('clock'), `${how}: ${String(ms)} ms`);
    }
  }
});

const HEAD = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const row = (name: string, destination: string, gateway: string, use = 0): string =>
  `${name}\t${destination}\t${gateway}\t0003\t0\t${use}\t100\t${destination === '00000000' ? '00000000' : '00FFFFFF'}\t0\t0\t0\n`;
const ZEROS = '0'.repeat(32);
const six = (destination: string, gateway: string, name: string): string =>
  `${destination} ${destination === ZEROS ? '00' : '40'} ${ZEROS} 00 ${gateway} 00000400 00000001 00000000 00000003 ${name}\n`;

t.test('another default route is a change, with the same addresses', async (t) => {
  let routes: RouteTables = { ipv4: HEAD + row('eth0', '00000000', '0101A8C0'), ipv6: '' };
  let changes = 0;
  const read = (): Interfaces => ({ eth0: [address('10.0.0.5')] });
  const watch = new NetworkWatch({ read, routes: () => routes, onChange: () => (changes += 1) });
  t.teardown(() => watch.close());
  const seen = (ipv4: string, ipv6 = ''): number => {
    routes = { ipv4, ipv6 };
    changes = 0;
    watch.look();
    watch.look();
    return changes;
  };
  const first = HEAD + row('eth0', '00000000', '0101A8C0', 7);
  t.equal(seen(first), 0, 'its use is counted');
  t.equal(seen(first + row('docker0', '000011AC', '00000000')), 0, 'a route to one network');
  t.equal(seen(HEAD + row('eth0', '00000000', '0201A8C0')), 1, 'another gateway');
  t.equal(seen(HEAD + row('wlan0', '00000000', '0201A8C0')), 1, 'another interface');
  const gateway = 'fe80'.padEnd(32, '1');
  t.equal(seen(HEAD, six(ZEROS, ZEROS, 'lo')), 1, 'no default route: that of lo is none');
  t.equal(seen(HEAD, six(ZEROS, gateway, 'wlan0')), 1, 'one of IPv6');
  t.equal(seen(HEAD, six(ZEROS, gateway, 'wlan0') + six('2001'.padEnd(32, '0'), ZEROS, 'wlan0')), 0);
});

t.test('what cannot be read now is no other network', async (t) => {
  let now: Interfaces | undefined = undefined;
  let tables: RouteTables | undefined = NONE;
  let changes = 0;
  const watch = new NetworkWatch({ read: () => now, routes: () => tables, onChange: () => (changes += 1) });
  t.teardown(() => watch.close());
  const seen = (next: Interfaces | undefined, routes: RouteTables | undefined = NONE): number => {
    now = next;
    tables = routes;
    watch.look();
    return changes;
  };
  const eth0: Interfaces = { eth0: [address('10.0.0.5')] };
  t.equal(seen(eth0), 0, 'the first that could be read');
  t.equal(seen(undefined), 0);
  tables = undefined;
  watch.look();
  t.equal(changes, 0);
  t.equal(seen(eth0), 0);
  t.equal(seen({ eth0: [address('10.0.0.6')] }), 1);
});
