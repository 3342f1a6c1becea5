// Entry point of all other commands, bundled into bmuxd-all.cjs.
import { runProgram } from './program.ts';

void runProgram();
