// A Node process that does nothing, to measure the memory of Node itself.
setInterval(() => undefined, 60_000);
process.stdout.write('{}\n');
