// Entry point of `bmuxd`, bundled with the quick commands (test/house/bundle.mjs). It loads at most one other bundle with commands: a failure that
// crosses from one copy of a module to another would not be recognised.
import './bmuxd-signals.ts';
import { QUICK, WHOLE } from '../cli/shell/quick.ts';
import { runProgram } from './program.ts';

const name = process.argv[2] ?? '';
if (QUICK.has(name)) void runProgram();
else if (WHOLE.has(name)) void import('./bmuxd-daemon.ts');
else void import('./bmuxd-all.ts');
