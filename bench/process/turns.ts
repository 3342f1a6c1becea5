// Loaded into a process by `--import`: appends a line to the file TURNS_FILE for each turn of the event loop that takes more than a little CPU
// time, with that time in ms. It is that of the main thread, so a busy machine makes it hardly longer.
import { appendFileSync, openSync, readSync } from 'node:fs';

/** ms between two looks, and of the shortest turn that is told. */
const LOOK_MS = 2;
const LEAST_MS = 1;

const file = process.env['TURNS_FILE'];
if (file !== undefined) {
  const times = openSync('/proc/self/schedstat', 'r');
  const buffer = Buffer.alloc(100);
  const cpuMs = (): number =>
    parseInt(buffer.toString('latin1', 0, readSync(times, buffer, 0, 100, 0)), 10) / 1e6;
  let last = cpuMs();
  setInterval(() => {
    const now = cpuMs();
    if (now - last > LEAST_MS) appendFileSync(file, `${process.argv[1] ?? ''} ${String(now - last)}\n`);
    last = now;
  }, LOOK_MS).unref();
}
