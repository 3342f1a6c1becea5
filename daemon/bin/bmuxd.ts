// Entry point of `bmuxd`. Each bundle that has it has other commands (bundles.ts).
import { runProgram } from './program.ts';

void runProgram();
