// Prepares `bmuxd` for signals. It is imported first, since a bundle takes longer to load than a signal may take to come.
import { ignoreMeaningless, openNoDebugger } from '../base/process/signals.ts';

// SIGHUP makes the daemon reload, so it must not end a start. The other commands end by any signal, as other programs do.
if (process.argv[2] === 'run') ignoreMeaningless(['SIGHUP']);
else openNoDebugger();
