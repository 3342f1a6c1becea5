// Is loaded into a daemon before its own code. Replaces the network interfaces of the machine: each name in the folder TEST_NETWORK is one.
import { readdirSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import os, { type NetworkInterfaceInfo } from 'node:os';

const folder = process.env['TEST_NETWORK'] ?? '';
const address: NetworkInterfaceInfo = {
  family: 'IPv4',
  address: '192.0.2.1',
  netmask: '255.255.255.0',
  cidr: '192.0.2.1/24',
  mac: '02:00:00:00:00:01',
  internal: false,
};

Object.assign(os, {
  networkInterfaces: () => Object.fromEntries(readdirSync(folder).map((name) => [name, [address]])),
});
syncBuiltinESMExports();
