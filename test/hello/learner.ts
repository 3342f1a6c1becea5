// A process that learns: argv = file, prefix of the addresses, how many.
import { ProtocolCache } from '../../daemon/hello/protocol-cache.ts';

const [path = '', name = '', count = '0'] = process.argv.slice(2);
const learnt = new ProtocolCache({
  path,
  warn: (message) => {
    process.stderr.write(`${message}\n`);
    process.exitCode = 1;
  },
});
await learnt.load();
for (let i = 0; i < Number(count); i += 1) {
  learnt.record(`${name}${i}`, { epoch: 4, compression: 'zstd' });
  // One write each: the others come between.
  await learnt.flushed();
}
