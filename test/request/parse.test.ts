// Tests daemon/request and daemon/api/header.ts: what a header may contain, and the errors for anything else.
import t from 'tap';
import { Failure } from '../../daemon/base/failure.ts';
import { parseRequest } from '../../daemon/request/parse.ts';
import { asciiJson } from '../../daemon/api/header.ts';
import { anyHeaderGivesRequestOrFailure, headerCarriesTheRequest } from './properties.ts';

function refusal(header: string | undefined): Failure {
  try {
    parseRequest(header);
  } catch (error) {
    if (error instanceof Failure) return error;
    throw error;
  }
  throw new Error(`not refused: ${String(header)}`);
}

t.test('a request with every field comes back as it is', async (t) => {
  const request = {
    target: 'prod',
    scope: 'recovery_inspection',
    policy: false,
    ifRunning: true,
    clientName: 'bmux-cli ü \u{1f600}',
    contract: { epoch: 3, revisions: { min: 1, max: 1 }, capabilities: ['core.session'] },
    buildId: '12-34',
    slot: 'dev',
    cwd: '/home/ü',
    env: { HOME: '/home/ü', BMUX_TARGET: '', SSH_AUTH_SOCK: '/run/agent' },
  };
  const header = asciiJson(request);
  t.match(header, /^[\x20-\x7e]+$/);
  t.match(header, '\\u00fc');
  t.same(parseRequest(header), request);
  t.same(parseRequest('{}'), {});
});

t.test('asciiJson escapes everything from DEL up, and nothing else', async (t) => {
  t.equal(
    asciiJson('~\u007f\u0080ÿ\uffff\u{1f600}"\n'),
    '"~\\u007f\\u0080\\u00ff\\uffff\\ud83d\\ude00\\"\\n"',
  );
  t.equal(asciiJson(undefined), 'null');
});

t.test('what is refused, with the code and the field that is named', async (t) => {
  const rows: [header: string | undefined, code: string, detail: string | RegExp][] = [
    [undefined, 'request_header_missing', 'the Bmux-Request header is missing'],
    ['  ', 'request_header_missing', 'the Bmux-Request header is missing'],
    ['{', 'request_json_invalid', /^the Bmux-Request header is not JSON: /],
    ['{"target":"ü"}', 'request_json_invalid', /outside ASCII/],
    ['[]', 'request_json_invalid', /not an object/],
    ['null', 'request_json_invalid', /not an object/],
    ['"x"', 'request_json_invalid', /not an object/],
    [
      '{"traget":"x"}',
      'request_field_invalid',
      'the request field traget is not valid: there is no such field',
    ],
    ['{"__proto__":{}}', 'request_field_invalid', /field __proto__ is not valid: there is no such field/],
    [
      '{"env":{"PATH":"/bin"}}',
      'request_field_invalid',
      /field env\.PATH is not valid: there is no such field/,
    ],
    ['{"a\\u001b[2J":1}', 'request_field_invalid', /field "a\\u\{1b\}\[2J" is not valid/],
    ['{"contract":{"epoch":4,"x":1}}', 'request_field_invalid', /field contract\.x /],
    ['{"contract":{}}', 'request_field_invalid', /field contract is not valid: .*epoch/],
    [
      '{"contract":{"epoch":5}}',
      'request_field_invalid',
      /field contract\.epoch is not valid: must be one of 3, 4/,
    ],
    [
      '{"scope":"all"}',
      'request_field_invalid',
      /field scope is not valid: must be one of "normal", "recovery_inspection"/,
    ],
    ['{"policy":"no"}', 'request_field_invalid', 'the request field policy is not valid: must be boolean'],
    ['{"target":null}', 'request_field_invalid', /field target is not valid: must be string/],
    [`{"clientName":"${'x'.repeat(257)}"}`, 'request_field_invalid', /field clientName is not valid/],
    ['{"cwd":"/a\\u0000b"}', 'request_field_invalid', /field cwd is not valid: it holds a NUL character/],
    [
      '{"env":{"HOME":"\\u0000"}}',
      'request_field_invalid',
      /field env\.HOME is not valid: it holds a NUL character/,
    ],
  ];
  for (const [header, code, detail] of rows) {
    const { data } = refusal(header);
    t.equal(data.code, code, header ?? '(none)');
    if (typeof detail === 'string') t.equal(data.detail, detail);
    else t.match(data.detail, detail);
    t.equal(data.exitStatus, 2);
    t.equal(data.status, 400);
  }
  t.ok(refusal(`{"${'k'.repeat(60_000)}":1}`).message.length < 200, 'a huge name is not repeated');
  t.match(refusal('['.repeat(60_000)).code, 'request_json_invalid', 'depth is no crash');
});

t.test('any header gives a request or a failure', async () => anyHeaderGivesRequestOrFailure(400));
t.test('what a client writes is what the daemon reads', async () => headerCarriesTheRequest(300));
