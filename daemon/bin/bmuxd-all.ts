// Entry point of the commands that are not in bmuxd.cjs, bundled into bmuxd-all.cjs.
import { runProgram } from './program.ts';

void runProgram();
