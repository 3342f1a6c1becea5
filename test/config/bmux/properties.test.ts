// Runs the config properties with few inputs, to keep the test run short.
import t from 'tap';
import * as properties from './properties.ts';

for (const [name, property] of Object.entries(properties)) {
  t.test(name, (t) => {
    property(1000);
    t.pass();
    t.end();
  });
}
