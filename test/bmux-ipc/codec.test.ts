// The codec writes the bytes of docs/bmux-protocol.md, "Encoding", and refuses invalid input.
import t from 'tap';
import { Reader, Writer } from '../../daemon/bmux-ipc/codec.ts';
import { garbageIsRefused, messagesSurvive, valuesSurvive } from './properties.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const reader = (text: string): Reader => new Reader(Buffer.from(text, 'hex'));

t.test('values have the bytes of the specification', async (t) => {
  const cases: [string, (writer: Writer) => unknown][] = [
    ['00', (w) => w.varint(0)],
    ['7f', (w) => w.varint(127)],
    ['8001', (w) => w.varint(128)],
    ['c09fab03', (w) => w.varint(7_000_000)],
    ['ffffffffffffffffff01', (w) => w.varint(0xffff_ffff_ffff_ffffn)],
    ['0100', (w) => w.bool(true).bool(false)],
    ['04f09f9982', (w) => w.string('🙂')],
    ['0003efbbbf', (w) => w.string('').string('\ufeff')],
    ['00010161', (w) => w.option<string>(undefined, () => 0).option('a', (v) => w.string(v))],
    ['020103', (w) => w.vec([1, 3], (v) => w.varint(v))],
    ['1000112233445566778899aabbccddeeff', (w) => w.uuid(4, '00112233-4455-6677-8899-aabbccddeeff')],
    [`24${Buffer.from('00112233-4455-6677-8899-aabbccddeeff').toString('hex')}`, (w) => w.uuid(3, '00112233-4455-6677-8899-AABBCCDDEEFF')],
  ]; // oxfmt-ignore
  for (const [wanted, write] of cases) {
    const writer = new Writer();
    write(writer);
    t.equal(hex(writer.finish()), wanted);
  }
});

t.test('what breaks the rules is refused, and says why', async (t) => {
  const cases: [string, string, (r: Reader) => unknown][] = [
    ['', 'truncated', (r) => r.u8()],
    ['80', 'truncated', (r) => r.varint()],
    ['02', 'not a bool', (r) => r.bool()],
    ['02', 'not a bool', (r) => r.option(() => r.u8())],
    ['ffffffffffffffffff02', 'over 64 bits', (r) => r.varint()],
    ['80808080808080808080', 'over 64 bits', (r) => r.varint()],
    ['8080808080808080808000', 'over 64 bits', (r) => r.varint()],
    ['808004', 'not a u16', (r) => r.u16()],
    ['8080808010', 'not a u32', (r) => r.u32()],
    ['03', 'not a variant of Thing', (r) => r.variant(3, 'Thing')],
    ['ffffffff0f61', 'beyond the input', (r) => r.bytes()],
    ['ffffffffffffffffff01', 'beyond the input', (r) => r.vec(() => r.u8())],
    ['02c328', 'not UTF-8', (r) => r.string()],
    ['03eda080', 'not UTF-8', (r) => r.string()],
    ['0f00112233445566778899aabbccddee', 'a UUID of 15 bytes', (r) => r.uuid(4)],
    [`20${Buffer.from('00112233445566778899aabbccddeeff').toString('hex')}`, 'not a UUID', (r) => r.uuid(3)],
    ['00', '1 bytes too many', (r) => { r.end(); }],
  ]; // oxfmt-ignore
  for (const [input, why, read] of cases)
    t.throws(
      () => read(reader(input)),
      { code: 'frame_invalid', message: new RegExp(why) },
      `${input}: ${why}`,
    );
  t.throws(() => new Writer().varint(-1), { code: 'frame_invalid' });
  t.throws(() => new Writer().varint(1n << 64n), { code: 'frame_invalid' });
  t.throws(() => new Writer().varint(0.5), { code: 'frame_invalid' });
  t.throws(() => new Writer().uuid(4, 'nobody'), { code: 'frame_invalid' });
});

t.test('a longer form of a number is read, as the real peers read it', async (t) => {
  t.equal(reader('8000').varint(), 0n);
  t.equal(reader('ff80808000').varint(), 127n);
});

t.test('a byte order mark is a part of its string', async (t) => {
  t.equal(reader('04efbbbf61').string(), '\ufeffa');
});

t.test('values survive', async () => {
  valuesSurvive(200);
});
t.test('messages survive', async () => {
  messagesSurvive(200);
});
t.test('garbage is refused', async () => {
  garbageIsRefused(500);
});
