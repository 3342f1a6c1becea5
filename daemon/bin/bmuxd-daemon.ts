// Entry point of all that needs the daemon's modules: some commands (bundles.ts), an engine, and the probe. They share most modules, so they are
// one bundle. It tells by the file that was run which of them it is (daemon/base/version.ts).
import { basename } from 'node:path';

const program = basename(process.argv[1] ?? '');
if (program === 'engine.cjs') void import('./engine.ts');
else if (program === 'probe.cjs') void import('./probe.ts');
else void import('./program.ts').then(({ runProgram }) => runProgram());
