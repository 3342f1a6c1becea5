// The race against a model of servers with connections.
import t from 'tap';
import { raceReachesWhatCanBeReached } from './model.ts';

t.test('a server that can be reached is reached, and nothing is left behind', async (t) => {
  await raceReachesWhatCanBeReached(100);
  t.pass();
});
