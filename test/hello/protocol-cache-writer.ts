// A process that records facts in a protocol cache. Arguments: file, prefix of the addresses, number of facts.
import { ProtocolCache } from '../../daemon/hello/protocol-cache.ts';

const [path = '', name = '', count = '0'] = process.argv.slice(2);
const cache = new ProtocolCache({
  path,
  log: {
    warn: (message) => {
      process.stderr.write(`${message}\n`);
      process.exitCode = 1;
    },
  },
});
await cache.load();
for (let i = 0; i < Number(count); i += 1) {
  cache.record(`${name}${i}`, { epoch: 4, compression: 'zstd' });
  // One write for each fact, so that the writes of several processes alternate.
  await cache.flushed();
}
