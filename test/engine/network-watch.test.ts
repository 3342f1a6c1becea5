// Tests which changes of the network interfaces count as a change of the network.
import type { NetworkInterfaceInfo } from 'node:os';
import t from 'tap';
import { NetworkWatch, type Interfaces } from '../../daemon/engine/network-watch.ts';

function address(text: string, internal = false): NetworkInterfaceInfo {
  const common = { address: text, netmask: '', mac: '', internal, cidr: null };
  return text.includes(':') ? { ...common, family: 'IPv6', scopeid: 0 } : { ...common, family: 'IPv4' };
}

t.test('another address or interface is a change, and nothing else is', async (t) => {
  let now: Interfaces = { lo: [address('127.0.0.1', true)], eth0: [address('10.0.0.5')] };
  let changes = 0;
  const watch = new NetworkWatch({ read: () => now, onChange: () => (changes += 1) });
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
