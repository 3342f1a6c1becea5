// The soaks of a daemon, with few inputs.
import t from 'tap';
import { everySoakRuns } from './short.ts';
import { DAEMON_SOAKS } from './soaks.ts';

t.test('every soak of a daemon runs', (t) => everySoakRuns(t, DAEMON_SOAKS));
