// Entry point of `bmuxd` as modules: for the daemon, and for what loads its packages.
import './bmuxd-signals.ts';
import { runProgram } from './program.ts';

await runProgram();
