// Prepares an engine for signals. It is imported first, since the other modules take longer to load than a signal may take to come.
import { ignoreMeaningless } from '../base/process/signals.ts';

// An engine keeps running when its terminal is closed or Ctrl-C is pressed; control handles these signals.
ignoreMeaningless(['SIGINT', 'SIGHUP']);
