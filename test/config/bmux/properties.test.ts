// The properties, for as long as a test run may take.
import t from 'tap';
import * as properties from './properties.ts';

for (const [name, property] of Object.entries(properties)) {
  t.test(name, (t) => {
    property(1000);
    t.pass();
    t.end();
  });
}
