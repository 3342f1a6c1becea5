// The soaks of a daemon, with few inputs. Those of restarts have a file of their own: they take as long as all others together.
import t from 'tap';
import { everySoakRuns } from './short.ts';
import { DAEMON_SOAKS, isOfRestarts } from './soaks.ts';

t.test('every soak of a daemon runs', (t) =>
  everySoakRuns(
    t,
    DAEMON_SOAKS.filter((soak) => !isOfRestarts(soak)),
  ),
);
