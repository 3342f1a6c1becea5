// Random deeds of both sides, 200 times; `npm run soak` does it 10,000 times.
import t from 'tap';
import { spliceIsTransparent } from './properties.ts';

t.setTimeout(120_000);

t.test('through the splice each side observes what it would on a direct socket', () =>
  spliceIsTransparent(200),
);
