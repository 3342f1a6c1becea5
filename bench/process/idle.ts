// A Node process that does nothing: what any process of Node weighs.
setInterval(() => undefined, 60_000);
process.stdout.write('{}\n');
