// The soaks of restarts, with few inputs.
import t from 'tap';
import { everySoakRuns } from './short.ts';
import { DAEMON_SOAKS, isOfRestarts } from './soaks.ts';

t.test('every soak of restarts runs', (t) => everySoakRuns(t, DAEMON_SOAKS.filter(isOfRestarts)));
