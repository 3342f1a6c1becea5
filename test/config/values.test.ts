// Tests where values in force come from: the file and the line that sets each.
import t from 'tap';
import { parseSettings } from '../../daemon/config/settings/load.ts';
import { settingsValues } from '../../daemon/config/settings/values.ts';
import { compose } from './bmux/composed.ts';

t.test('settings: file and line, or default', (t) => {
  const text = `# first
log.level = "debug"

[streams]
max_waiting = 9007199254740993
client_buffer_limit = 65536

[iroh]
relays = [
  "https://relay.example/",
]

[targets."pro.d"]
compression = "zstd"
`;
  const values = settingsValues(parseSettings('/b.toml', Buffer.from(text)));
  const of = (key: string) => values.find((row) => row.key === key);
  t.strictSame(of('log.level'), { key: 'log.level', value: 'debug', origin: '/b.toml:2' });
  t.strictSame(of('streams.client_buffer_limit')?.origin, '/b.toml:6');
  t.strictSame(of('iroh.relays'), {
    key: 'iroh.relays',
    value: ['https://relay.example/'],
    origin: '/b.toml:9',
  });
  t.strictSame(of('targets."pro.d".compression')?.origin, '/b.toml:14');
  t.match(of('streams.max_waiting'), { value: 256, origin: 'default' }, 'an invalid value is not in force');
  t.equal(of('contexts.max')?.origin, 'default');
  t.strictSame(
    settingsValues(parseSettings('/b.toml', Buffer.from('not toml'))).map(({ origin }) => origin),
    settingsValues(parseSettings('/b.toml', Buffer.from(''))).map(() => 'default'),
  );
  t.end();
});

t.test('bmux config: the last layer, also in a profile, and only keys that are used', (t) => {
  const base = `[connections.targets.a]
transport = "tls"
host = "one"
color = "red"
[appearance]
theme = "dark"
`;
  const over = `[connections]
default_target = "a"
targets.a.host = "two"
targets.a.port = 9007199254740993
share_links = { mine = "https://x/" }
[composition]
active_profile = "p"
layer_order = ["config", "profile:active"]
[composition.profiles.p.patch.general]
server_timeout = 7
`;
  const fixed = over.replace('9007199254740993', '4433');
  const origins = compose([base, fixed]).values();
  t.strictSame(Object.fromEntries(origins.map(({ key, origin }) => [key, origin])), {
    'general.server_timeout': '/1.toml:10',
    'connections.targets.a.transport': '/0.toml:2',
    'connections.targets.a.host': '/1.toml:3',
    'connections.targets.a.port': '/1.toml:4',
    'connections.default_target': '/1.toml:2',
    'connections.share_links.mine': '/1.toml:5',
  });
  t.end();
});

t.test('ten thousand targets are listed up to a bound, in little time', (t) => {
  const text = Array.from(
    { length: 10_000 },
    (_, index) => `[connections.targets.t${String(index)}]\nhost = "h"\n`,
  );
  const values = compose(text.join('')).values();
  t.equal(values.length, 2000);
  t.equal(values[1999]?.origin, '/0.toml:4000');
  t.end();
});
