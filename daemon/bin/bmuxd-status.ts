// Entry point of `bmuxd status`.
import { askEarly } from '../cli/status/early.ts';

void askEarly(process.argv, process.env)
  .then(() => import('./program.ts'))
  .then(({ runProgram }) => runProgram());
