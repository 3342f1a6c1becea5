// Entry point of `bmuxd`, bundled with all commands into bmuxd.cjs (test/house/build.mjs). The daemon itself runs from its own modules: a
// failure that crosses from one copy of a module to the other would not be recognised.
import './bmuxd-signals.ts';
import { runProgram } from './program.ts';

if (process.argv[2] === 'run') void import('./bmuxd.ts');
else void runProgram();
