// Entry point of `bmuxd`, bundled with the quick commands into bmuxd.cjs (test/house/build.mjs). The daemon itself runs from modules: a
// failure that crosses from one copy of a module to the other would not be recognised.
import './bmuxd-signals.ts';
import { QUICK } from '../cli/shell/quick.ts';
import { runProgram } from './program.ts';

const name = process.argv[2] ?? '';
if (name === 'run') void import('./bmuxd.ts');
else if (QUICK.has(name)) void runProgram();
else void import('./bmuxd-all.ts');
